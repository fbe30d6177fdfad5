"""Taps: thunks between a hypercall's slot and the C code that answers it.

A slot is one jump. Aimed at a thunk of another, private library, whose own slot
holds the C code, the call is counted, timed or recorded on its way without any
Python; aimed back at the C code it costs nothing again. The libraries are made
when they are first wanted and stay, as all thunks do.
"""

from __future__ import annotations

from rumphyper.host.recorder import Record as Words
from rumphyper.host.recordring import MAX_CAPACITY
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary, supported
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.tracerecord import Total

SMALL = 2
"""Capacity of a ring that nothing is written into."""


class Taps:
    """The libraries of one hypervisor: counted, timed and recorded thunks."""

    def __init__(self) -> None:
        self._libraries: dict[tuple[str, int], ThunkLibrary] = {}

    @property
    def supported(self) -> bool:
        """Whether there are thunks here."""
        return supported()

    def counted(self) -> ThunkLibrary:
        """Every hypercall as a counted thunk."""
        return self._library("counted", SMALL)

    def timed(self) -> ThunkLibrary:
        """Every hypercall as a timed thunk; counted, where it does not return."""
        return self._library("timed", SMALL)

    def recorded(self, capacity: int) -> ThunkLibrary:
        """Every hypercall as a recorded thunk, with a ring of ``capacity``."""
        return self._library("recorded", capacity)

    def _library(self, kind: str, capacity: int) -> ThunkLibrary:
        key = (kind, capacity)
        if key not in self._libraries:
            self._libraries[key] = _build(kind, capacity)
        return self._libraries[key]


def _build(kind: str, capacity: int) -> ThunkLibrary:
    builder = ThunkBuilder(f"librumphyper-{kind}.so", capacity)
    for name, call in CATALOGUE.items():
        argc = len(call.arguments)
        if kind == "recorded":
            builder.recorded(name, argc, call.noreturn, call.variadic)
        elif kind == "timed" and not call.noreturn:
            builder.timed(name, argc, call.variadic)
        else:
            builder.counted(name)
    return builder.load()


def capacity_for(records: int) -> int:
    """A fit capacity for a ring from which so many of the newest can be read.

    With some room, for others are written while it is read.
    """
    wanted = records + records // 4 + 256
    return min(MAX_CAPACITY, 1 << (wanted - 1).bit_length())


class Tap:
    """What one trace has of a library of timed or recorded thunks.

    Calls count from now on. ``overwriting`` says what a full ring gives up,
    ``slower_than`` how many nanoseconds a call must take to be recorded.
    """

    def __init__(
        self, library: ThunkLibrary, *, overwriting: bool = True, slower_than: int = 0
    ) -> None:
        self._library = library
        self._ring = ring = library.ring
        ring.overwriting = overwriting
        ring.threshold = round(slower_than / ring.clock.rate)
        ring.clear()
        self._lost = ring.lost
        self._skipped = ring.skipped
        self._base = self._read()

    def aim(self, call: Hypercall, target: int) -> int:
        """Let calls go on to ``target``; the address that the slot must hold."""
        thunk = self._library[call.name]
        thunk.target = target
        return thunk.address

    def _read(self) -> dict[str, tuple[int, int, int]]:
        out = {}
        for name, call in CATALOGUE.items():
            thunk = self._library[name]
            failed, ticks = 0, 0
            if thunk.kind != "counted":
                ticks = thunk.ticks
                failed = thunk.failed if call.fails_with_errno else 0
            out[name] = (thunk.count, failed, ticks)
        return out

    def totals(self) -> dict[str, Total]:
        """Calls, errors and time by name, without the names that have none."""
        out, rate = {}, self._ring.clock.rate
        for name, now in self._read().items():
            calls, errors, ticks = (
                after - before
                for after, before in zip(now, self._base[name], strict=True)
            )
            if calls:
                out[name] = Total(calls, errors, round(ticks * rate))
        return out

    @property
    def lost(self) -> int:
        """Calls that have no record because the ring had no room."""
        return self._ring.lost - self._lost

    @property
    def unfinished(self) -> int:
        """Records that cannot be taken yet, for one of them is not whole."""
        return len(self._ring)

    def take(self, limit: int | None) -> tuple[list[bytes], int]:
        """The new records in pieces, as the thunks wrote them; the newest few.

        And how many more there were before those, which were overwritten.
        """
        pieces = self._ring.take(limit)
        skipped = self._ring.skipped - self._skipped
        self._skipped += skipped
        return pieces, skipped

    def decode(self, octets: bytes) -> list[Words]:
        """What `take` returned, as records of the ring."""
        return self._ring.decode(octets)
