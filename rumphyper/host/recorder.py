"""The ring into which recorded thunks write, and its reader.

Thunks claim a number by compare-and-swap on ``head``, fill the record at that
number modulo the capacity and last of all write its first word: the number plus
one. They never wait: with ``capacity`` records unread a call is only added to
``lost``. Layout of a record, 16 words of 64 bits:

    0 number + 1    1 symbol    2 thread pointer    3 start    4 end
    5 result        6 .. 15     the first ten argument words

Start and end are the processor's counter, see `rumphyper.host.counter`.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading
from collections.abc import Sequence

import attrs

from rumphyper.errors import HostError
from rumphyper.host.counter import Counter
from rumphyper.host.libc import address

RECORD = struct.Struct("<16Q")
MAX_CAPACITY = 1 << 24

HEADER = {
    "head": 0,
    "tail": 64,
    "lost": 128,
    "records": 136,
    "capacity": 144,
    "mask": 152,
}
"""The words by which thunks know a ring; head and tail on cache lines of their own."""

HEADER_SIZE = 192

_forever: list[object] = []
"""Rings stay mapped: thunks may write as long as the process lives."""


@attrs.frozen
class Recorded:
    """What the reader must know of a recorded symbol."""

    name: str
    argc: int
    noreturn: bool


@attrs.frozen
class Record:
    """One call that went through a recorded thunk."""

    number: int
    """Counts from 0, in the order in which the calls ended."""
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


def check_capacity(capacity: int) -> int:
    """Return a ring's capacity; raise HostError unless it is a fit power of two."""
    if capacity < 2 or capacity & (capacity - 1) or capacity > MAX_CAPACITY:
        cause = f"{capacity} is not a power of two from 2 to {MAX_CAPACITY}"
        raise HostError("capacity of the ring", cause, "take for example 65536")
    return capacity


class Ring:
    """The memory and the header of one ring, without any meaning."""

    def __init__(self, header: int, capacity: int) -> None:
        """Map the records and tell the header, at an address, where they are."""
        self.capacity = check_capacity(capacity)
        self._octets = mmap.mmap(-1, capacity * RECORD.size)
        _forever.append(self._octets)
        self._view = memoryview(self._octets).cast("Q")
        words = {
            name: ctypes.c_uint64.from_address(header + offset)
            for name, offset in HEADER.items()
        }
        words["records"].value = address(self._octets)
        words["mask"].value = capacity - 1
        words["capacity"].value = capacity
        self._head, self._tail, self._lost = (
            words[name] for name in ("head", "tail", "lost")
        )
        self._lock = threading.Lock()
        self._barrier = threading.Lock()

    @property
    def lost(self) -> int:
        """Calls that found the ring full."""
        return self._lost.value

    def __len__(self) -> int:
        """Records that were claimed and not yet taken."""
        with self._lock:
            return self._head.value - self._tail.value

    def take(self, limit: int | None = None) -> bytes:
        """Remove whole records, oldest first; 128 octets each, as laid out above.

        A record that is still being written holds back those behind it.
        """
        with self._lock:
            tail = self._tail.value
            count = self._head.value - tail
            if limit is not None:
                count = min(count, limit)
            spans = self._spans(tail, count)
            ready = 0
            for start, length in spans:
                whole = self._whole(tail + ready, start, length)
                ready += whole
                if whole < length:
                    break
            # A lock is a barrier on every machine: the numbers were read before
            # the records are, and these before their room is given back.
            with self._barrier:
                octets = b"".join(
                    self._octets[start * RECORD.size : (start + length) * RECORD.size]
                    for start, length in self._spans(tail, ready)
                )
            with self._barrier:
                self._tail.value = tail + ready
            return octets

    def _spans(self, tail: int, count: int) -> list[tuple[int, int]]:
        """Where ``count`` records lie: one run of places, or two at the wrap."""
        start = tail % self.capacity
        first = min(count, self.capacity - start)
        spans = [(start, first), (0, count - first)]
        return [span for span in spans if span[1]]

    def _whole(self, number: int, start: int, length: int) -> int:
        """How many of the records of a run are whole, from its start on."""
        seen = self._view[16 * start : 16 * (start + length) : 16].tolist()
        expected = list(range(number + 1, number + 1 + length))
        if seen == expected:
            return length
        pairs = enumerate(zip(seen, expected, strict=True))
        return next(index for index, (one, other) in pairs if one != other)


class Recorder(Ring):
    """A ring of calls, decoded. Threads may read it at the same time."""

    def __init__(
        self, header: int, capacity: int, symbols: Sequence[Recorded], clock: Counter
    ) -> None:
        super().__init__(header, capacity)
        self._symbols = symbols
        self._clock = clock

    def drain(self, limit: int | None = None) -> list[Record]:
        """Remove and decode whole records, oldest first, ``limit`` at most.

        A hot reader can `take` the octets instead and `decode` them later.
        """
        return self.decode(self.take(limit))

    def decode(self, octets: bytes) -> list[Record]:
        """The records in what `take` returned."""
        if not octets:
            return []
        self._clock.settle()
        when, offset = self._clock.nanoseconds, self._clock.thread_offset
        out = []
        for words in RECORD.iter_unpack(octets):
            symbol = self._symbols[words[1]]
            out.append(
                Record(
                    words[0] - 1,
                    symbol.name,
                    words[2] + offset,
                    words[6 : 6 + symbol.argc],
                    when(words[3]),
                    when(words[4]),
                    None if symbol.noreturn else words[5],
                )
            )
        return out
