"""What the tests of the TAP link share."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import socket
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typing_extensions import Buffer

from rumphyper.host import thunks, uring
from rumphyper.host.netif import Netif
from rumphyper.link import Link
from rumphyper.link.tap import TapLink, open_tap
from tests.judges import tool

OURS = bytes.fromhex("b2a000000001")
HOSTS = bytes.fromhex("b2a0000000fe")
EXPERIMENT = bytes.fromhex("88b5")
"""An EtherType that no protocol of the host kernel takes (IEEE 802)."""

SO_RCVBUFFORCE = 33
MOST = 60 if os.geteuid() else 1000
"""Frames that a packet socket holds for sure: only root may make it hold more."""

SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20

IOS = ("uring", "walk", "plain")

both = pytest.mark.parametrize("io", IOS)


def open_io(name: str, io: str, **options: Any) -> TapLink:
    """Open a TAP by one way of reading and writing; skip where it is refused."""
    if io == "uring" and uring.refusal():
        pytest.skip(f"io_uring: {uring.refusal()}")
    if io == "walk" and not thunks.supported():
        pytest.skip("no thunks on this processor")
    link = open_tap(name, io=io, **options)  # type: ignore[arg-type]
    assert link.io == io
    return link


def frame(payload: bytes, target: bytes = HOSTS, source: bytes = OURS) -> bytes:
    """An Ethernet frame that only the tests take notice of."""
    return target + source + EXPERIMENT + payload


def some_frames(count: int, seed: int, most: int = 1500) -> list[bytes]:
    """Frames of random sizes, with runs of equal ones as bulk traffic has."""
    chance = random.Random(seed)
    frames: list[bytes] = []
    while len(frames) < count:
        size = chance.choice([0, 46, 986, 1500, most, chance.randint(0, most)])
        for _ in range(chance.choice([1, 1, 3, 40])):
            frames.append(frame(chance.randbytes(size)))
    return frames[:count]


@contextlib.contextmanager
def packet_socket(interface: str) -> Iterator[socket.socket]:
    """The host's end of the wire: sends on, and sees, the host's interface."""
    kind = socket.SOCK_RAW
    with socket.socket(socket.AF_PACKET, kind, socket.htons(0x0003)) as end:
        end.bind((interface, 0x0003))
        end.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        with contextlib.suppress(PermissionError):
            end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        end.settimeout(5)
        yield end


def arrivals(end: socket.socket, count: int) -> list[bytes]:
    """The next ``count`` frames that came in from the TAP, not those going out."""
    found: list[bytes] = []
    while len(found) < count:
        octets, address = end.recvfrom(1 << 17)
        if address[2] != socket.PACKET_OUTGOING:
            found.append(octets)
    return found


def gather(link: Link, count: int, timeout: float = 5.0) -> list[bytes]:
    """Receive until there are ``count`` frames or nothing comes any more."""
    found: list[bytes] = []
    while len(found) < count:
        frames = link.recv(timeout=timeout)
        if not frames:
            break
        found += frames
    return found


def until(true: Callable[[], bool], timeout: float = 5.0) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def ip(*words: str) -> None:
    subprocess.run([tool("ip"), *words], check=True)


def interfaces() -> list[str]:
    with Netif() as netif:
        return netif.names()


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def odd_buffers(plain: list[bytes]) -> list[Buffer]:
    """The first six frames, of even length, by other types than bytes."""
    wide = array("H", plain[3])
    spread = memoryview(bytes(octet for octet in plain[4] for _ in range(2)))[::2]
    foreign = (ctypes.c_char * len(plain[5])).from_buffer_copy(plain[5])
    return [bytearray(plain[0]), memoryview(plain[1]), plain[2], wide, spread, foreign]
