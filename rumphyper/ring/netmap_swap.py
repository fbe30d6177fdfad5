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
    slots_at, to_slots_at = source.slots_at, target.slots_at
    word, tail = source.words()
    to_word, to_tail = target.words()
    ports = source.vale or target.vale
    none = bytes(min(slots, to_slots))
    every = bytes((abi.BUF_CHANGED,)) * len(none)
    zeros, changed, last = none, every, len(none)

    def swap(limit: int) -> int:
        nonlocal zeros, changed, last
        if word[0] != source.stored:
            raise source.moved()
        if to_word[0] != target.stored:
            raise target.moved()
        at, to = source.cur, target.cur
        count, free = tail[0] - at, to_tail[0] - to
        if count < 0:
            count += slots
        if free < 0:
            free += to_slots
        if not (0 <= count < slots and 0 <= free < to_slots):
            raise source.corrupt("tail", tail[0])
        if count > free:
            count = free
        if count > limit:
            count = limit
        left = count
        while left:
            run = left
            if at + run > slots:
                run = slots - at
            if to + run > to_slots:
                run = to_slots - to
            if run != last:
                zeros, changed, last = none[:run], every[:run], run
            size = run * STEP
            begin, to_begin = slots_at + at * STEP, to_slots_at + to * STEP
            end, to_end = begin + size, to_begin + size
            # What is checked is what is stored: the one copy that was read.
            frames = memory[begin:end]
            if exact:
                limits.check_numbers(frames, zeros)
            elif (numbers := frames[column]) != zeros and numbers.translate(None, sure):
                limits.numbers(frames)
            lengths = frames[LEN_HIGHS]
            if lengths != zeros and lengths.translate(None, sure_lengths):
                limits.check(frames)
            flags = frames[FLAGS_LOWS]
            move(begin, to_begin, size)
            memory[begin + FLAGS_LOW : end : STEP] = changed
            memory[to_begin:to_end] = frames
            memory[to_begin + FLAGS_LOW : to_end : STEP] = (
                changed
                if flags == zeros or flags == changed
                else flags.translate(_SENT)
            )
            if ports:  # a VALE switch would take these for the port to send to
                memory[to_begin + FLAGS_HIGH : to_end : STEP] = zeros
            left -= run
            at += run
            if at == slots:
                at = 0
            to += run
            if to == to_slots:
                to = 0
            source.cur, target.cur = at, to
            source.stored = word[0] = at | at << 32
            target.stored = to_word[0] = to | to << 32
        return count

    return swap
