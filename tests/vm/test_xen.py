"""Guests of kind ``xen``: dom0 on the hypervisor, xenstore, domains of its own."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.vm.initramfs import archive
from tests.vm.marker import BUSYBOX, KERNEL

pytestmark = pytest.mark.vm("xen")

XS_READ = 2
"""Xen, xen/include/public/io/xs_wire.h: enum xsd_sockmsg_type."""


def run(*command: str) -> str:
    """A program's output."""
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_this_is_dom0() -> None:
    assert Path("/sys/hypervisor/type").read_text() == "xen\n"
    assert "control_d" in Path("/proc/xen/capabilities").read_text()
    devices = {"evtchn", "gntalloc", "gntdev", "privcmd", "xenbus"}
    assert devices <= set(os.listdir("/dev/xen"))


def test_xenstore_answers_what_it_was_told() -> None:
    """Told by Xen's program, asked through the kernel with octets of our own."""
    run("xenstore-write", "/local/domain/0/rumphyper", "groundwork")
    key = b"/local/domain/0/rumphyper\0"
    with open("/dev/xen/xenbus", "r+b", buffering=0) as xenbus:
        xenbus.write(struct.pack("=4I", XS_READ, 7, 0, len(key)) + key)
        kind, request, transaction, length = struct.unpack("=4I", xenbus.read(16))
        assert (kind, request, transaction) == (XS_READ, 7, 0)
        assert xenbus.read(length) == b"groundwork"


DOMU = """
name = "domu"
kernel = "{kernel}"
ramdisk = "{ramdisk}"
cmdline = "console=hvc0 quiet panic=-1"
memory = 128
on_poweroff = "destroy"
"""

INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
echo "domain type: $(/bin/busybox cat /sys/hypervisor/guest_type)"
/bin/busybox poweroff -f
"""


def test_dom0_starts_a_paravirtualised_domain(tmp_path: Path) -> None:
    ramdisk = tmp_path / "initramfs"
    busybox = Path(os.environ[BUSYBOX]).read_bytes()
    files = {"init": INIT, "bin/busybox": busybox}
    ramdisk.write_bytes(archive(["bin", "dev", "proc", "sys"], files))
    settings = tmp_path / "domu.cfg"
    settings.write_text(DOMU.format(kernel=os.environ[KERNEL], ramdisk=ramdisk))
    run("xl", "create", str(settings))
    limit = time.monotonic() + 30
    while "domu" in run("xl", "list"):
        assert time.monotonic() < limit
        time.sleep(0.3)
    console = Path("/var/log/xen/guest-domu.log").read_text()
    assert "domain type: PV" in console
