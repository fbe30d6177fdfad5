"""The calls that recorded thunks have written into their ring, decoded."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from rumphyper.host.counter import Counter
from rumphyper.host.recordring import RECORD, Ring


@attrs.frozen
class Recorded:
    """What the reader must know of a recorded symbol."""

    name: str
    argc: int
    noreturn: bool


@attrs.frozen
class Record:
    """One call that went through a recorded thunk."""

    symbol: str
    thread: int
    """As `threading.get_ident` and pthread_self(3) name it."""
    arguments: tuple[int, ...]
    """Unsigned words, ten at most. The upper half of a word is undefined where
    the argument's type is narrower."""
    start: int
    end: int
    """Nanoseconds of CLOCK_MONOTONIC at the call and at its return."""
    result: int | None
    """The unsigned result register; None when the call does not return."""


class Recorder(Ring):
    """A ring of calls, decoded. Threads may read it at the same time."""

    def __init__(
        self, header: int, capacity: int, symbols: Sequence[Recorded], clock: Counter
    ) -> None:
        super().__init__(header, capacity)
        self._symbols = symbols
        self.clock = clock

    def drain(self, limit: int | None = None) -> list[Record]:
        """Remove and decode whole records, oldest first, ``limit`` at most.

        A hot reader can `take` the octets instead and `decode` them later.
        """
        return [record for piece in self.take(limit) for record in self.decode(piece)]

    def decode(self, octets: bytes) -> list[Record]:
        """The records in a piece that `take` returned."""
        if not octets:
            return []
        self.clock.settle()
        when, offset = self.clock.nanoseconds, self.clock.thread_offset
        out = []
        for words in RECORD.iter_unpack(octets):
            symbol = self._symbols[words[1]]
            out.append(
                Record(
                    symbol.name,
                    words[2] + offset,
                    words[6 : 6 + symbol.argc],
                    when(words[3]),
                    when(words[4]),
                    None if symbol.noreturn else words[5],
                )
            )
        return out
