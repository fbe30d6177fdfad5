"""The ring into which recorded thunks write, as octets.

Thunks claim a number by compare-and-swap on ``head``, fill the record at that
number modulo the capacity and last of all write its first word. They never wait.
What happens when the ring is full is the reader's choice: a call is only added
to ``lost``, or the oldest record is overwritten. Layout of a record, 16 words of
64 bits:

    0 tag       1 symbol    2 thread pointer    3 start    4 end
    5 result    6 .. 15     the first ten argument words

The tag of a whole record is its number less the number's place in the ring, plus
the capacity: what the next one at this place finds there. A thunk that finds
another one, because a thread was stopped in the middle of a record for a whole
round, leaves that alone and is lost. Start and end are the processor's counter,
see `rumphyper.host.counter`.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading
from array import array

from rumphyper.errors import HostError
from rumphyper.host.libc import address

RECORD = struct.Struct("<16Q")
SIZE = RECORD.size
MAX_CAPACITY = 1 << 24

HEADER = {
    "head": 0,
    "tail": 64,
    "lost": 128,
    "records": 136,
    "limit": 144,
    "mask": 152,
    "threshold": 160,
}
"""The words by which thunks know a ring; head and tail on cache lines of their own."""

HEADER_SIZE = 192

_NO_LIMIT = (1 << 64) - 1

_PORTION = 4096
"""Records that are read at once from a ring that overwrites."""


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
        # Private: what a process writes that was forked off is its own.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._octets = mmap.mmap(-1, capacity * SIZE, flags)
        # Never unmapped, not at the end of the interpreter either: thunks may
        # write as long as the process lives.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._octets))
        self._view = memoryview(self._octets).cast("Q")
        words = {
            name: ctypes.c_uint64.from_address(header + offset)
            for name, offset in HEADER.items()
        }
        words["records"].value = address(self._octets)
        words["mask"].value = capacity - 1
        words["limit"].value = capacity
        self._head, self._tail, self._lost, self._limit, self._threshold = (
            words[name] for name in ("head", "tail", "lost", "limit", "threshold")
        )
        self._lock = threading.Lock()
        self._barrier = threading.Lock()
        self.skipped = 0
        """Records that were overwritten, or left for newer ones, untaken."""

    @property
    def lost(self) -> int:
        """Calls of which there is no record because there was no room."""
        return self._lost.value

    @property
    def head(self) -> int:
        """Records that were claimed since the ring was made."""
        return self._head.value

    @property
    def threshold(self) -> int:
        """Ticks of the counter that a call must take to be recorded."""
        return self._threshold.value

    @threshold.setter
    def threshold(self, ticks: int) -> None:
        self._threshold.value = ticks

    @property
    def overwriting(self) -> bool:
        """Whether a full ring gives up its oldest records, not the newest calls."""
        return self._limit.value == _NO_LIMIT

    @overwriting.setter
    def overwriting(self, on: bool) -> None:
        with self._lock:
            self._advance(max(self._tail.value, self.head - self.capacity), 0)
            self._limit.value = _NO_LIMIT if on else self.capacity

    def __len__(self) -> int:
        """Records that were claimed and can still be taken."""
        with self._lock:
            return min(self.head - self._tail.value, self.capacity)

    def clear(self) -> None:
        """Forget the records that there are."""
        with self._lock:
            self._tail.value = self.head

    def take(self, limit: int | None = None) -> list[bytes]:
        """Remove whole records: 128 octets each, as laid out above, in pieces.

        In the order of their numbers; the oldest, or when the ring overwrites
        the newest if there is a ``limit``. A record that is still being written
        holds back those behind it.
        """
        limit = self.capacity if limit is None else limit
        with self._lock:
            return self._newest(limit) if self.overwriting else self._oldest(limit)

    def _oldest(self, limit: int) -> list[bytes]:
        tail = self._tail.value
        ready = self._whole(tail, min(limit, self.head - tail))
        pieces = [self._copy(*span) for span in self._spans(tail, ready)]
        self._advance(tail + ready, ready)
        return pieces

    def _newest(self, limit: int) -> list[bytes]:
        """Read backwards: what is overwritten meanwhile are the oldest."""
        at = end = self.head
        first = max(self._tail.value, end - min(limit, self.capacity))
        pieces: list[bytes] = []
        while at > first:
            start = max(first, at - _PORTION, (at - 1) // self.capacity * self.capacity)
            ready = self._whole(start, at - start)
            if start + ready < at:  # what is newer has to wait for it
                end = start + ready
                pieces.clear()
            piece = self._copy(start % self.capacity, ready)
            first = max(first, self.head - self.capacity)
            at = min(max(start, first), start + ready)
            pieces.append(piece[(at - start) * SIZE :])
        self._advance(end, end - at)
        return [piece for piece in reversed(pieces) if piece]

    def _copy(self, start: int, length: int) -> bytes:
        # A lock is a barrier on every machine: the tags were read before the
        # records are, and these before their room is given back.
        with self._barrier:
            piece = self._octets[start * SIZE : (start + length) * SIZE]
        with self._barrier:
            return piece

    def _advance(self, tail: int, taken: int) -> None:
        """Give back the room of the records before ``tail``."""
        self.skipped += tail - self._tail.value - taken
        self._tail.value = tail

    def _spans(self, tail: int, count: int) -> list[tuple[int, int]]:
        """Where ``count`` records lie: one run of places, or two at the wrap."""
        start = tail % self.capacity
        first = min(count, self.capacity - start)
        spans = [(start, first), (0, count - first)]
        return [span for span in spans if span[1]]

    def _whole(self, tail: int, count: int) -> int:
        """How many of ``count`` records are whole, from number ``tail`` on.

        A larger tag is that of a record written over, which is whole.
        """
        ready = 0
        for start, length in self._spans(tail, count):
            tag = tail + ready - start + self.capacity
            seen = self._view[16 * start : 16 * (start + length) : 16]
            if seen == memoryview(array("Q", [tag]) * length):
                ready += length
                continue
            tags = enumerate(seen.tolist())
            here = next((index for index, one in tags if one < tag), length)
            ready += here
            if here < length:
                break
        return ready
