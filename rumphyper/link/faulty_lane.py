"""What happens to frames on a bad wire, one direction of it; no I/O.

The dice are seeded: the same frames in the same order meet the same fates.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable

import attrs
from typing_extensions import Buffer

HOLD = 0.01
"""Seconds that a frame to be overtaken waits for the next one, at most."""


@attrs.frozen
class Rates:
    """How many frames meet which fate: probabilities from 0 to 1."""

    drop: float = 0.0
    corrupt: float = 0.0
    """One bit of the frame is wrong."""

    duplicate: float = 0.0
    reorder: float = 0.0
    """The next frame overtakes it."""

    delay: float = 0.0
    by: float = 0.02
    """Seconds by which frames are delayed; what comes meanwhile overtakes them."""

    seed: int = 0


@attrs.define
class Tally:
    """How many frames came, and what was done to them."""

    frames: int = 0
    dropped: int = 0
    corrupted: int = 0
    duplicated: int = 0
    reordered: int = 0
    delayed: int = 0

    def as_dict(self) -> dict[str, int]:
        """The numbers by name, for ``--json``."""
        return attrs.asdict(self)


class Dice:
    """Seeded decisions; ``name`` keeps dice of one seed apart."""

    def __init__(self, seed: int, name: str) -> None:
        self._random = random.Random(f"{seed} {name}")

    def roll(self, probability: float) -> bool:
        """True with ``probability``; what never happens costs no throw."""
        return probability > 0 and self._random.random() < probability

    def damage(self, frame: Buffer) -> bytes:
        """A copy of ``frame`` with one bit turned over."""
        octets = bytearray(frame)
        if octets:
            bit = self._random.randrange(8 * len(octets))
            octets[bit // 8] ^= 1 << bit % 8
        return bytes(octets)


class Lane:
    """One direction of a bad wire. Times are in seconds of one clock."""

    def __init__(self, rates: Rates, name: str) -> None:
        self.rates = rates
        self.tally = Tally()
        self._dice = Dice(rates.seed, name)
        self._late: list[tuple[float, int, bytes]] = []
        self._behind: list[tuple[float, bytes]] = []
        self._serial = 0

    def pass_on(self, frames: Iterable[Buffer], now: float) -> list[Buffer]:
        """What comes out at once when ``frames`` go in; the rest comes by `due`."""
        rates, tally, roll = self.rates, self.tally, self._dice.roll
        out: list[Buffer] = []
        for frame in frames:
            tally.frames += 1
            if roll(rates.drop):
                tally.dropped += 1
                continue
            if roll(rates.corrupt):
                tally.corrupted += 1
                frame = self._dice.damage(frame)
            copies = 1
            if roll(rates.duplicate):
                tally.duplicated += 1
                copies = 2
            if roll(rates.delay):
                tally.delayed += 1
                self.hold([frame] * copies, now + rates.by)
            elif roll(rates.reorder):
                self._behind += [(now + HOLD, bytes(frame))] * copies
            else:
                out += [frame] * copies
                tally.reordered += len(self._behind)
                out += [late for _, late in self._behind]
                self._behind.clear()
        return out

    def hold(self, frames: Iterable[Buffer], until: float) -> None:
        """Let ``frames`` come out at the time ``until``."""
        for frame in frames:
            self._serial += 1
            heapq.heappush(self._late, (until, self._serial, bytes(frame)))

    def due(self, now: float) -> list[Buffer]:
        """What comes out by ``now`` without a further frame."""
        out: list[Buffer] = []
        while self._behind and self._behind[0][0] <= now:
            out.append(self._behind.pop(0)[1])
        while self._late and self._late[0][0] <= now:
            out.append(heapq.heappop(self._late)[2])
        return out

    def next_due(self) -> float | None:
        """When `due` has something; None when nothing is held."""
        times = [held[0][0] for held in (self._behind, self._late) if held]
        return min(times, default=None)
