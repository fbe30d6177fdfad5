"""Finding loops: frames that a bridge sends and that come back to it.

Each port now and then sends a frame that nobody else takes notice of: a
request of the Ethernet loopback protocol (type 0x9000, DEC/Intel/Xerox Ethernet
2.0, chapter 8) to its own multicast address. One that arrives at a port says
that the two ports are on one wire, whoever closed the loop and wherever. Of
two such ports the later one is shut until no probe has come back for a while.

Two bridges that make a loop together may both shut a port. How long they do is
chance, so that one opens first; the other's probes then come back to it before
it opens, and it stays shut.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

from rumphyper.net.ethernet import Ethernet

LOOPBACK = 0x9000
ASSISTANCE = bytes.fromhex("cf0000000000")
"""The loopback assistance address, to which no station answers unasked."""

NO_FUNCTION = bytes(4)
"""Skip count and a function that none is: whoever reads it does nothing."""

LISTEN = 0.25
"""Seconds after a probe in which it is looked for, at most."""

PATIENCE = (2.0, 8.0)
"""Periods without a probe that came back after which a port opens again."""

LEAST = 60
"""Octets of a frame on a real Ethernet, without FCS."""


class LoopWatch:
    """The probes of one bridge; times are seconds of one clock.

    ``period`` is the time between two probes of a port, 0 for none at all.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._secret = os.urandom(16)
        self._probes: dict[bytes, int] = {}
        self._shut: dict[int, float] = {}
        self._until = float("-inf")
        self._patience = 0.0
        self.due = 0.0 if period else float("inf")
        """When the next probes are due."""

    def probe(self, port: int, mac: bytes) -> bytes:
        """The frame that ``port`` sends."""
        body = NO_FUNCTION + self._secret + port.to_bytes(2, "big")
        frame = Ethernet(ASSISTANCE, mac, LOOPBACK, body).build().ljust(LEAST, b"\0")
        kept = {probe: p for probe, p in self._probes.items() if p != port}
        self._probes = {**kept, frame: port}
        return frame

    def sent(self, now: float) -> None:
        """All ports have sent their probes."""
        self._until = now + min(LISTEN, self._period)
        self.due = now + self._period

    def soon(self) -> None:
        """Have probes sent at once: a port is new or has come back."""
        if self._period:
            self.due = 0.0

    def listening(self, now: float) -> bool:
        """Whether probes may be among the frames that arrive."""
        return now < self._until or bool(self._shut)

    def pick(self, port: int, frames: Sequence[bytes], now: float) -> list[bytes]:
        """Take probes out of frames that came in at ``port``; notes what they say."""
        others = []
        for frame in frames:
            sender = self._probes.get(frame) if frame[:6] == ASSISTANCE else None
            if sender is None:
                others.append(frame)
            else:
                if not self._shut:
                    self._patience = random.uniform(*PATIENCE) * self._period
                self._shut[max(sender, port)] = now
        return others

    def shut(self, now: float) -> set[int]:
        """The ports that have to stay out: their probe came back lately."""
        oldest = now - self._patience
        self._shut = {port: at for port, at in self._shut.items() if at > oldest}
        return set(self._shut)
