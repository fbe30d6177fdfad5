"""Writing to a shmif bus, with its lock held."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache

from typing_extensions import Buffer

from rumphyper.ring.shmif import (
    DATA,
    DATA_SIZE,
    FIRST_WORD,
    HEADER,
    HEADER_SIZE,
    LAST_WORD,
    LENGTH,
    MAGIC,
    MAGIC_WORD,
    RUN,
    SIZE,
    Bus,
)

SLACK = 1 << 15
"""Octets of old packets that are dropped ahead of need."""


def join_equal(
    frames: Sequence[bytes], size: int, seconds: int, microseconds: int, sender: int
) -> tuple[bytes, bytes]:
    """The packets of frames of one size as they go on the bus.

    The stamp is the sender's uptime. Returns the first header and the rest: as
    all headers are equal, the header is what joins the frames.
    """
    header = HEADER.pack(size, seconds, microseconds, sender)
    return header, header.join(frames)


def join(
    frames: Sequence[bytes],
    sizes: Sequence[int],
    seconds: int,
    microseconds: int,
    sender: int,
) -> bytes:
    """The packets of frames of any ``sizes`` as they go on the bus."""
    pack = HEADER.pack
    headers = {size: pack(size, seconds, microseconds, sender) for size in set(sizes)}
    parts: list[bytes] = [b""] * (2 * len(sizes))
    parts[0::2] = map(headers.__getitem__, sizes)
    parts[1::2] = frames
    return b"".join(parts)


class Writer:
    """One writer of a bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._starts: deque[int] = deque()
        """Positions of packets that this end has written, some tens of KiB apart."""

    def append(self, head: bytes, rest: bytes, newest: int) -> None:
        """Add packets, headers and frames joined, of at most `CHUNK` octets.

        They are ``head``, a header or nothing, and ``rest``; ``newest`` is the
        size of the last packet with its header. Packets that lie where the new
        ones go are dropped, and readers that had not taken them are lapped.
        CorruptError, with nothing added.
        """
        bus = self._bus
        words = bus.words
        if words[MAGIC_WORD] != MAGIC:
            bus.check_kind()
        last = words[LAST_WORD]
        start = last + HEADER_SIZE + bus.length_at(last)
        if start >= DATA_SIZE:
            start -= DATA_SIZE
        end = start + len(head) + len(rest)
        first = words[FIRST_WORD]
        if start <= first < end or end >= DATA_SIZE or first > DATA_SIZE:
            self._make_room(start, end, first)
        if end < DATA_SIZE:
            begin = DATA + start
            if head:
                bus.memory[begin : begin + HEADER_SIZE] = head
                begin += HEADER_SIZE
            bus.memory[begin : DATA + end] = rest
            words[LAST_WORD] = end - newest
            return
        # The end of the data area is reached: a generation more.
        packets = head + rest
        room = DATA_SIZE - start
        bus.memory[DATA + start : SIZE] = packets[:room]
        bus.memory[DATA : DATA + end - DATA_SIZE] = packets[room:]
        last = (end - newest) % DATA_SIZE
        bus.publish(bus.generation + 1, words[FIRST_WORD], last)

    def _make_room(self, start: int, end: int, first: int) -> None:
        """Drop the packets that lie between ``start`` and ``end``, if any.

        Both count from the begin of the data area on, past its end. When some
        must go, `SLACK` octets more go with them, for the next ones.
        """
        bus = self._bus
        if first > DATA_SIZE:
            raise bus.beyond("first", first)
        oldest = first if first >= start else first + DATA_SIZE
        # A new bus has first = DATA_SIZE, which must not outlive the first wrap.
        if oldest >= end and not oldest == end == DATA_SIZE:
            return
        bound = end + SLACK
        known = self._known_start(start, bound)
        if known is None:
            known = self._walk(oldest, bound)
            if known > start + DATA_SIZE:
                rule = "the packets from there on run past the newest one"
                raise bus.corrupt("first", first, rule)
        words = bus.words
        words[FIRST_WORD] = known % DATA_SIZE

    def _known_start(self, start: int, bound: int) -> int | None:
        """The place of a packet of ours a little behind ``bound``, if there is one.

        A packet that this end has put on the bus is there until it is
        overwritten, and the packets between lead to it. To know it saves
        walking over headers that are in nobody's cache any more.
        """
        here = self._bus.generation * DATA_SIZE + start
        lap = here - start - DATA_SIZE
        starts = self._starts
        if starts and starts[-1] >= here:
            starts.clear()  # somebody has set the bus back
        while starts and starts[0] < lap + bound:
            starts.popleft()
        found = starts[0] - lap if starts else None
        starts.append(here)
        return found if found is not None and found < bound + SLACK else None

    def _walk(self, oldest: int, bound: int) -> int:
        """Go on from packet to packet until ``bound`` is reached."""
        previous = 0
        while oldest < bound:
            offset = oldest - DATA_SIZE if oldest >= DATA_SIZE else oldest
            size = HEADER_SIZE + self._bus.length_at(offset)
            if size == previous:
                oldest += size * self._run(offset, size, (bound - oldest) // size)
            else:
                oldest += size
            previous = size
        return oldest

    def _run(self, offset: int, size: int, most: int) -> int:
        """How many packets of ``size`` are at ``offset``: as asked, or just 1."""
        count = min(RUN, most, (DATA_SIZE - offset) // size)
        if count > 1:
            lengths = _run_struct(size, count)(self._bus.memory, DATA + offset)
            if lengths.count(size - HEADER_SIZE) == count:
                return count
        return 1


@lru_cache(maxsize=256)
def _run_struct(size: int, count: int) -> Callable[[Buffer, int], tuple[int, ...]]:
    """Unpack the length fields of ``count`` packets of ``size`` octets in a row."""
    return struct.Struct("=" + f"I{size - LENGTH.size}x" * count).unpack_from
