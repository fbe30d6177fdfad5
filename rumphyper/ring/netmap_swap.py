"""Forwarding between two netmap rings of one memory region, without a copy.

The slots of an rx ring, which hold frames, trade places with those of a tx
ring, which are free. What moves is 16 octets a frame; no buffer is opened.
"""

from __future__ import annotations

from collections.abc import Callable

from rumphyper.errors import LinkError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap import Ring
from rumphyper.ring.netmap_slots import (
    FLAGS_HIGH,
    FLAGS_LOW,
    FLAGS_LOWS,
    LEN_HIGHS,
    STEP,
)

_SENT = bytes(abi.BUF_CHANGED | flags & abi.MOREFRAG for flags in range(256))
"""The flags of a slot that is to be sent, by those with which it was received."""

BOTH = 1 | 1 << 32
"""Times an index, the word in which head and cur are that index."""


def swapper(source: Ring, target: Ring, *, exact: bool = False) -> Callable[[int], int]:
    """Return the function that moves slots with frames from rx to tx.

    It is called with how many may go at most. As many go as the one ring has and
    the other has room for, and it returns how many; both rings have been
    advanced then. It raises CorruptError for slots or indices that cannot be
    right: what is in front of them has been moved then.

    The lengths are checked, and of the buffers' numbers one column of octets,
    which finds garbage but not every number that is out of range. The kernel
    looks at each again when it sends it, and so does whoever opens a buffer.
    With ``exact`` they are all checked here, at some nanoseconds a slot: for
    the rings of pipes, whose slots another process fills and the kernel hands on.

    Raises LinkError where the two rings are not of one region.
    """
    if (
        source.memory is not target.memory
        or source.buffers_at != target.buffers_at
        or source.buf_size != target.buf_size
    ):
        raise LinkError(
            f"{source.name} and {target.name}",
            "their buffers are in different memory regions",
            "open both with one @memid, or copy the frames",
        )
    if source.is_tx or not target.is_tx:
        raise ValueError("slots go from an rx ring to a tx ring")

    # Names of this function instead of attributes and methods: of a batch of 32
    # looking those up would cost more than moving the slots does.
    memory, move = source.memory, source.memory.move
    limits = source.limits
    column, sure, sure_lengths = limits.column, limits.sure, limits.sure_lengths
    slots, to_slots = source.slots, target.slots
    places, to_places = source.places, target.places
    word, tail = source.words()
    to_word, to_tail = target.words()
    ports = source.vale or target.vale
    none = bytes(min(slots, to_slots))
    every = bytes((abi.BUF_CHANGED,)) * len(none)
    changed, last = every, len(every)

    def swap(limit: int) -> int:
        nonlocal changed, last
        if word[0] != source.stored:
            raise source.moved()
        if to_word[0] != target.stored:
            raise target.moved()
        filled, free = tail[0], to_tail[0]
        if filled >= slots:
            raise source.corrupt("tail", filled)
        if free >= to_slots:
            raise target.corrupt("tail", free)
        at, to = source.cur, target.cur
        left, room = filled - at, free - to
        if left < 0:
            left += slots
        if room < 0:
            room += to_slots
        if left > room:
            left = room
        if left > limit:
            left = limit
        count = left
        try:
            while left:
                run = left
                stop, to_stop = at + run, to + run
                if stop > slots or to_stop > to_slots:
                    run = min(slots - at, to_slots - to)
                    stop, to_stop = at + run, to + run
                if run != last:
                    changed, last = every[:run], run
                begin, end = places[at], places[stop]
                to_begin, to_end = to_places[to], to_places[to_stop]
                # What is checked is what is stored: the one copy that was read.
                frames = memory[begin:end]
                if exact:
                    limits.check_numbers(frames, none)
                elif (n := frames[column]) > none and n.translate(None, sure):
                    limits.numbers(frames)
                lengths = frames[LEN_HIGHS]
                if lengths > none and lengths.translate(None, sure_lengths):
                    limits.check(frames)
                flags = frames[FLAGS_LOWS]
                move(begin, to_begin, end - begin)
                memory[begin + FLAGS_LOW : end : STEP] = changed
                memory[to_begin:to_end] = frames
                memory[to_begin + FLAGS_LOW : to_end : STEP] = (
                    flags.translate(_SENT)
                    if flags > none and flags != changed
                    else changed
                )
                if ports:  # a VALE switch would take these for the port to send to
                    memory[to_begin + FLAGS_HIGH : to_end : STEP] = none[:run]
                left -= run
                at = stop if stop < slots else 0
                to = to_stop if to_stop < to_slots else 0
        finally:
            source.cur, target.cur = at, to
            source.stored = word[0] = at * BOTH
            target.stored = to_word[0] = to * BOTH
        return count

    return swap
