"""Network cards that are connected: one end by Python's driver, one by the kernel's."""

from __future__ import annotations

import contextlib
import random
import select
import socket
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import Self

from rumphyper.host.netif import Netif
from rumphyper.link import Link, open_link
from rumphyper.link.e1000 import E1000Link
from rumphyper.pci import Address, bind
from tests.vm.pci import SYSFS, eventually

SO_RCVBUFFORCE = 33
LOCAL_EXPERIMENTAL = 0x88B5
BROADCAST = b"\xff" * 6
SHORTEST = 60
"""Octets that a frame has on the wire at least; shorter ones are filled up."""

# The guests of kind pci-hub: two on one hub, two on another, one on a user network.
HUB_E1000, HUB_E1000E = (Address(0, 0, slot, 0) for slot in (0x10, 0x11))
PAIR = tuple(Address(0, 0, slot, 0) for slot in (0x12, 0x13))
E1000_82545 = Address(0, 0, 0x14, 0)


@contextlib.contextmanager
def driven(
    place: Address, driver: str = "vfio-pci", **options: object
) -> Iterator[E1000Link]:
    """The card by Python's driver; in the end it is the kernel's again."""
    binding = bind(place, driver)
    try:
        with open_link(f"pci:{place}", **options) as link:
            assert isinstance(link, E1000Link)
            yield link
    finally:
        binding.restore()


class KernelEnd:
    """The card by the kernel's own driver: frames of one type, by AF_PACKET."""

    def __init__(self, place: Address) -> None:
        (self.name,) = SYSFS.info(place).interfaces
        Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("1")
        with Netif() as netif:
            netif.set_up(self.name)
            self.mac = netif.mac(self.name)
        carrier = Path(f"/sys/class/net/{self.name}/carrier")
        assert eventually(lambda: carrier.read_text() == "1\n", 20)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(LOCAL_EXPERIMENTAL)
        )
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._socket.bind((self.name, LOCAL_EXPERIMENTAL))
        self._socket.setblocking(False)

    def send(self, frames: list[bytes]) -> None:
        for frame in frames:
            select.select([], [self._socket], [])
            self._socket.send(frame)

    def recv(self, count: int, timeout: float = 20.0) -> list[bytes]:
        """So many frames, or fewer when none comes for a time."""
        frames: list[bytes] = []
        while len(frames) < count:
            try:
                frames.append(self._socket.recv(65536))
            except BlockingIOError:
                if not select.select([self._socket], [], [], timeout)[0]:
                    break
        return frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        with Netif() as netif:
            netif.set_down(self.name)


class Frames:
    """Frames that are all different, of all sizes; the same each time."""

    def __init__(self, target: bytes, source: bytes) -> None:
        kind = LOCAL_EXPERIMENTAL.to_bytes(2, "big")
        self._header = target + source + kind
        self._pool = random.Random(1).randbytes(1 << 16)

    def batch(self, start: int, count: int) -> list[bytes]:
        """Those with the numbers from ``start`` on."""
        return [self._frame(number) for number in range(start, start + count)]

    def _frame(self, number: int) -> bytes:
        size = 18 + number * 37 % 1497  # to 1,514
        at = number * 7919 % 64000
        body = number.to_bytes(4, "big") + self._pool[at : at + size - 18]
        return self._header + body


def on_the_wire(frames: list[bytes]) -> list[bytes]:
    """As they arrive at the other end."""
    return [frame.ljust(SHORTEST, b"\0") for frame in frames]


def receive(link: Link, count: int, timeout: float = 20.0) -> list[bytes]:
    """So many frames of ours, without what else is on the wire, or fewer."""
    kind = LOCAL_EXPERIMENTAL.to_bytes(2, "big")
    frames: list[bytes] = []
    while len(frames) < count:
        came = link.recv(timeout=timeout)
        if not came:
            break
        frames += [frame for frame in came if frame[12:14] == kind]
    return frames
