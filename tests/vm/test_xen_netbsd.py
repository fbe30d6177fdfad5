"""NetBSD's TCP/IP on a Xen vif, against Linux behind the kernel's xen-netback."""

from __future__ import annotations

import socket
import subprocess
import zlib
from pathlib import Path

import pytest

from tests.cli.command import argv
from tests.real.rump import require_rump
from tests.vm.xen_cases import octets, taken
from tests.vm.xen_support import (
    LINUX,
    PYTHON,
    address,
    linux_pings,
    load,
    tables,
    unload,
    vif,
)

require_rump()

pytestmark = [pytest.mark.rump, pytest.mark.vm("xen", timeout=120)]

PORT = 7003
OCTETS = 1_000_000

SCRIPT = f"""
import zlib
server = kernel.socket()
server.bind(("{PYTHON}", {PORT}))
server.listen(1)
print("listening", flush=True)
far, _ = server.accept()
seen = bytearray()
while len(seen) < {OCTETS}:
    seen += far.recv(65536)
print(zlib.crc32(seen), flush=True)
far.sendall(seen)
far.close()
"""


def test_netbsd_on_a_vif(tmp_path: Path) -> None:
    unload("xen-netfront")
    load("xen-netback")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    right = zlib.crc32(octets(OCTETS))
    with vif():
        command = argv("run", "-i", f"virt0=xen:vif/0,{PYTHON}/24", script)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            address("vif0.0", f"{LINUX}/24")
            assert linux_pings(20, 1400)
            with socket.create_connection((PYTHON, PORT), 60) as client:
                client.sendall(octets(OCTETS))
                assert taken(client, OCTETS) == right
            assert process.stdout.readline() == f"{right}\n"
            assert process.wait(60) == 0
    assert tables()[0] == 0
