"""Frames by the driver in Python, beside the kernel's own e1000e driver.

Two e1000e whose ports are joined: frames go out by one and come in by the other, in
batches, in one thread. On our side both are links of `rumphyper.link.e1000`; on the
peer's both are the kernel's, reached from the same Python by packet sockets. The
cards change drivers at each turn.

It takes the cards away from the kernel, so it runs only on those that are named::

    RUMPHYPER_BENCH_E1000=0000:00:12.0,0000:00:13.0 \\
        python -m tests.vm exec pci-hub rumphyper bench pci --quick
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Protocol

from rumphyper.errors import HostError, RumphyperError
from rumphyper.host.netif import Netif
from rumphyper.link import Link, open_link
from rumphyper.pci import Address, Sysfs, bind
from rumphyper.pci.binding import AUTO

from .harness import Row, skipped, summary

CARDS = "RUMPHYPER_BENCH_E1000"
"""The two cards' addresses, with a comma between them."""

PEER = "kernel's e1000e by AF_PACKET"
SIZES = {"e1000 frames": 64, "e1000 frames 1500": 1500}
BATCH = 64
LOCAL_EXPERIMENTAL = 0x88B5
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
SO_RCVBUFFORCE = 33
PATIENCE = 20.0


class End(Protocol):
    """One card."""

    mac: bytes

    def send(self, frames: Sequence[bytes]) -> object:
        """Send a batch."""

    def recv(self, count: int) -> list[bytes]:
        """Wait for some frames, at most so many."""


class Ours:
    """A card by the driver in Python."""

    def __init__(self, link: Link) -> None:
        self.mac = link.mac
        self.send = link.send
        self._link = link

    def recv(self, count: int) -> list[bytes]:
        return self._link.recv(count, timeout=PATIENCE)


class Theirs:
    """A card by the kernel's driver."""

    def __init__(self, name: str, mac: bytes) -> None:
        self.mac = mac
        kind = socket.htons(LOCAL_EXPERIMENTAL)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, kind)
        self._socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self._socket.bind((name, LOCAL_EXPERIMENTAL))
        self.close = self._socket.close

    def send(self, frames: Sequence[bytes]) -> None:
        deque(map(self._socket.send, frames), 0)

    def recv(self, count: int) -> list[bytes]:
        select.select([self._socket], [], [], PATIENCE)
        frames: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            now = repeat(socket.MSG_DONTWAIT, count)
            frames.extend(map(self._socket.recv, repeat(2048), now))
        return frames


def rows(quick: bool) -> Iterator[Row]:
    """Yield a row for each size of frames, in frames a second."""
    named = os.environ.get(CARDS, "")
    try:
        if not named:
            remedy = f"name two of them in {CARDS}; see benchmarks/pci_e1000.py"
            raise HostError("e1000e", "needs two whose ports are joined", remedy)
        cards = [Address.parse(each) for each in named.split(",")]
        with contextlib.ExitStack() as stack:
            for card in cards:
                stack.callback(bind(card, "vfio-pci").restore)
            yield from _measured(cards, runs=5 if quick else 15)
    except RumphyperError as error:
        for case in SIZES:
            yield skipped("pci", case, str(error))


def _measured(cards: Sequence[Address], runs: int) -> Iterator[Row]:
    pairs: dict[str, list[tuple[float, float]]] = {case: [] for case in SIZES}
    for turn in range(runs):
        order = [_by_python, _by_kernel]
        rates = {}
        for side in order[:: -1 if turn % 2 else 1]:
            with side(cards) as (one, other):
                for case, size in SIZES.items():
                    rates[case, side] = _rate(one, other, size)
        for case, values in pairs.items():
            values.append((rates[case, _by_python], rates[case, _by_kernel]))
    for case, values in pairs.items():
        unit = "frames/s"
        yield summary("pci", case, unit, PEER, values, more_is_better=True)


@contextlib.contextmanager
def _by_python(cards: Sequence[Address]) -> Iterator[tuple[End, End]]:
    with contextlib.ExitStack() as stack:
        for card in cards:
            bind(card, "vfio-pci")
        one, other = (stack.enter_context(open_link(f"pci:{card}")) for card in cards)
        yield Ours(one), Ours(other)


@contextlib.contextmanager
def _by_kernel(cards: Sequence[Address]) -> Iterator[tuple[End, End]]:
    with Netif() as netif, contextlib.ExitStack() as stack:
        ends = []
        for card in cards:
            bind(card, AUTO)
            (name,) = Sysfs().info(card).interfaces
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            netif.set_up(name)
            stack.callback(netif.set_down, name)
            ends.append(Theirs(name, netif.mac(name)))
            stack.callback(ends[-1].close)
        for card in cards:
            _wait_for_carrier(card)
        yield ends[0], ends[1]


def _wait_for_carrier(card: Address) -> None:
    (name,) = Sysfs().info(card).interfaces
    end = time.monotonic() + PATIENCE
    while Path(f"/sys/class/net/{name}/carrier").read_text() != "1\n":
        if time.monotonic() > end:
            raise HostError(name, "its link does not come up", "join the two ports")
        time.sleep(0.05)


def _rate(one: End, other: End, size: int, batches: int = 50) -> float:
    """Frames a second from one card to the other, all of them as they were sent."""
    header = other.mac + one.mac + LOCAL_EXPERIMENTAL.to_bytes(2, "big")
    batch = [header + bytes([number]) * (size - 14) for number in range(BATCH)]
    _pass(one, other, batch)
    start = time.monotonic()
    for _ in range(batches):
        _pass(one, other, batch)
    return batches * BATCH / (time.monotonic() - start)


def _pass(one: End, other: End, batch: list[bytes]) -> None:
    one.send(batch)
    came: list[bytes] = []
    while len(came) < len(batch):
        frames = other.recv(len(batch) - len(came))
        if not frames:
            cause = f"{len(came)} of {len(batch)} frames have arrived"
            raise HostError("e1000e", cause, "join the ports of the two cards")
        came += frames
    if came != batch:
        raise HostError("e1000e", "other frames have arrived", "join the two alone")
