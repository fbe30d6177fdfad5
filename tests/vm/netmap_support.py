"""What the tests of netmap in a guest share."""

from __future__ import annotations

import contextlib
import mmap
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from rumphyper.host.netif import Netif
from rumphyper.link import open_link
from rumphyper.link.netmap_link import NetmapLink
from tests.vm.kinds import NETMAP_MODULE

HEADER = b"\xff" * 6 + bytes.fromhex("02000000000188b5")
"""To everybody, of a type that the host's stack does not answer."""


def mark_for_guest() -> list[pytest.MarkDecorator]:
    """For a guest where there is a module, skipped where there is none."""
    if NETMAP_MODULE:
        return [pytest.mark.netmap, pytest.mark.vm("netmap")]
    reason = "RUMPHYPER_NETMAP_MODULE names no netmap.ko of the guest's kernel"
    return [pytest.mark.netmap, pytest.mark.skip(reason=reason)]


def patient(seconds: float) -> pytest.MarkDecorator:
    """Let a test take so long in its guest; no guest starts without a module."""
    if NETMAP_MODULE:
        return pytest.mark.vm("netmap", timeout=seconds)
    return pytest.mark.netmap


def opened(linkstr: str, **options: Any) -> NetmapLink:
    """An open link, whose type is known."""
    link = open_link(linkstr, **options)
    assert isinstance(link, NetmapLink)
    return link


def broadcast(payload: bytes) -> bytes:
    return HEADER + payload


def mixed(count: int, most: int = 1500) -> list[bytes]:
    """Frames of all sizes, each another one."""
    source = random.Random(count)
    octets = source.randbytes(2 * most)
    frames = []
    for number in range(count):
        size = source.randrange(46, most - 3)
        at = source.randrange(len(octets) - size)
        frames.append(HEADER + struct.pack(">I", number) + octets[at : at + size])
    return frames


def exchange(
    source: NetmapLink, target: NetmapLink, frames: Sequence[bytes], pace: int = 200
) -> list[bytes]:
    """Send all, ``pace`` at a time; return what arrives, until nothing is missing.

    No more is under way than a switch's ring holds: it drops what has no room.
    """
    got: list[bytes] = []
    sent = 0
    deadline = time.monotonic() + 60
    while len(got) < len(frames) and time.monotonic() < deadline:
        if sent < len(frames) and sent - len(got) < 500:
            sent += source.send(frames[sent : sent + pace])
        got += target.recv(1024, timeout=0 if sent < len(frames) else 1)
    return got


def numbers_of(link: NetmapLink) -> list[int]:
    """The buffers of all slots of a link's rings."""
    found = []
    for ring in (*link.tx, *link.rx):
        for slot in range(ring.slots):
            at = ring.slots_at + 16 * slot
            found.append(int.from_bytes(link.port.memory[at : at + 4], "little"))
    return found


@contextlib.contextmanager
def veth(up: bool = True) -> Iterator[None]:
    """veth0 and veth1, joined, without IPv6's chatter."""
    command = "ip link add veth0 type veth peer name veth1"
    subprocess.run(command.split(), check=True)
    try:
        for name in ("veth0", "veth1"):
            quiet = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
            with contextlib.suppress(OSError), open(quiet, "w") as file:
                file.write("1")
            if up:
                with Netif() as netif:
                    netif.set_up(name)
        yield
    finally:
        with Netif() as netif:
            netif.delete("veth0")


MAP_HUGETLB = 0x40000


def huge_pages(size: int) -> mmap.mmap:
    """Shared memory whose pages are in one piece, as the kernel wants its rings."""
    return mmap.mmap(-1, size, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_HUGETLB)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command ``rumphyper``."""
    return subprocess.run(
        [sys.executable, "-m", "rumphyper", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
