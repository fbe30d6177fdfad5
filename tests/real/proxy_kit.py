"""Servers of the syscall proxy for the tests, and what a client does first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import pytest

from rumphyper.hypercalls.proxy import url as urls
from rumphyper.kernel import ioctls
from rumphyper.kernel.buffers import writable
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.netaddr import pack, pack_mask
from tests.real.rump import require_rump

ROOT = Path(__file__).parents[2]
PATIENCE = 20
LIBRARIES = (
    *("rumpnet", "rumpnet_net", "rumpnet_netinet", "rumpnet_netinet6"),
    *("rumpnet_local", "rumpvfs", "rumpvfs_fifofs", "rumpfs_tmpfs", "rumpdev"),
)


@attrs.frozen
class Served:
    """A server that runs: where, and its process."""

    url: str
    process: subprocess.Popen[bytes]
    understands_refusals: bool = False
    """The stock server does not: a call whose memory is refused never ends."""

    @property
    def path(self) -> str:
        """Its socket in the host's file system."""
        return self.url.partition("://")[2]


def free_url(scheme: str, folder: str) -> str:
    """A URL that nobody serves."""
    if scheme == "unix":
        return f"unix://{folder}/rump"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def stock_server(scheme: str = "unix") -> Iterator[Served]:
    """NetBSD's own program, where it is installed beside the libraries."""
    require_rump()
    folder = Path(Libraries().folders[0])
    program = folder.parent / "bin" / "rump_server"
    if not program.exists():
        pytest.skip(f"no rump_server in {program.parent}")
    have = [name for name in LIBRARIES if (folder / f"lib{name}.so").exists()]
    command = [str(program), "-s", *(f"-l{name}" for name in have)]
    with _running(command, scheme, LD_LIBRARY_PATH=str(folder)) as served:
        yield served


@contextlib.contextmanager
def library_server(scheme: str = "unix", mode: str = "native") -> Iterator[Served]:
    """A kernel that this package has booted, with the stock server's code."""
    require_rump()
    command = [sys.executable, "-m", "tests.real.proxy_server", mode]
    with _running(command, scheme) as served:
        yield served


@contextlib.contextmanager
def our_server(scheme: str = "unix") -> Iterator[Served]:
    """This package's server."""
    with library_server(scheme, "hybrid") as served:
        yield attrs.evolve(served, understands_refusals=True)


SERVERS = {
    "rump_server": stock_server,
    "libraries": library_server,
    "rumphyper": our_server,
}


@contextlib.contextmanager
def _running(command: Sequence[str], scheme: str, **settings: str) -> Iterator[Served]:
    """Run ``command`` with a URL at its end; it is killed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        url = free_url(scheme, folder)
        process = subprocess.Popen(
            [*command, url], cwd=ROOT, env={**os.environ, **settings}
        )
        try:
            _await(url, process)
            yield Served(url, process)
        finally:
            process.kill()
            process.wait(timeout=PATIENCE)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until there is a banner to be had."""
    place = urls.parse(url)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket(place.family) as probe, contextlib.suppress(OSError):
            probe.connect(place.sockaddr)
            if probe.recv(100):
                return
        time.sleep(0.02)
    pytest.fail(f"no server came up: exit status {process.poll()}")


def add_loopback(kernel: Any) -> None:
    """Give lo0 of any kernel its address: NetBSD's ioctl of ifconfig(8)."""
    address = ip_address("127.0.0.1")
    request = ioctls.ifaliasreq(
        "lo0", pack(address), pack(address), pack_mask(address, 8)
    )
    pointer, _ = writable(request)
    number = ioctls.SIOCAIFADDR
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        kernel.calls.do("ioctl", sock.fileno(), ctypes.c_ulong(number), pointer)
