"""Frames in and out of a netmap ring: copies, views, fragments, indirect ones.

A frame longer than a buffer lies in several slots, all but the last of which
have MOREFRAG set. Lengths, flags and buffer numbers of a batch are read and
written as columns of octets, so that Python runs only for the frames' octets.
Facts: netmap sys/net/netmap.h, netmap_vale.c.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import repeat
from operator import or_

from typing_extensions import Buffer

from rumphyper.errors import FrameError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap import Ring
from rumphyper.ring.netmap_slots import (
    FLAGS_HIGH,
    FLAGS_LOW,
    FLAGS_LOWS,
    LEN_HIGH,
    LEN_LOW,
    STEP,
)

_NOT_MORE = bytes(flags for flags in range(256) if not flags & abi.MOREFRAG)
KEPT = bytes(flags & abi.BUF_CHANGED for flags in range(256))
"""Of a tx slot's old flags what the kernel has yet to be told."""

Pieces = list[tuple[int, int]]
"""Where in the memory the octets of each slot begin and end."""


# -- receiving -----------------------------------------------------------------


def slots(ring: Ring, count: int) -> bytes:
    """A copy of the next ``count`` slots."""
    memory = ring.memory
    return b"".join([memory[begin:end] for begin, end in ring.runs(count)])


def lengths(ring: Ring, limit: int) -> list[int]:
    """The lengths of up to ``limit`` slots that are there, checked."""
    count = min(ring.available(), limit)
    if not count:
        return []
    return ring.limits.check(slots(ring, count))[1]


def look(ring: Ring, limit: int) -> tuple[int, Pieces, list[int]]:
    """Up to ``limit`` whole frames, without taking them.

    Returns how many slots they have, where the octets of each slot are, and how
    many slots each frame has: an empty list when each has one. Raises
    CorruptError for a slot that is out of range, a frame of more than
    MAX_FRAGS slots, or indices that somebody has moved.
    """
    count = there = ring.available()
    if count > limit:
        count = limit
    if not count:
        return 0, [], []
    octets = slots(ring, count)
    more = octets[FLAGS_LOWS].translate(None, _NOT_MORE)
    if not more:
        return count, _pieces(ring, octets), []
    octets = slots(ring, there)
    flags = octets[FLAGS_LOWS]
    counts: list[int] = []
    begin = 0
    for end, value in enumerate(flags, 1):
        if not value & abi.MOREFRAG:
            counts.append(end - begin)
            begin = end
            if len(counts) == limit:
                break
        elif end - begin >= abi.MAX_FRAGS:
            raise ring.corrupt("slots of a frame", f"{abi.MAX_FRAGS} and more")
    if not begin and there == ring.slots - 1:
        raise ring.corrupt("MOREFRAG", "set in all slots")
    return begin, _pieces(ring, octets[: begin * STEP]) if begin else [], counts


def _pieces(ring: Ring, octets: bytes) -> Pieces:
    base, size = ring.buffers_at, ring.buf_size
    return [
        (at := base + index * size, at + length)
        for index, length in zip(*ring.limits.check(octets), strict=True)
    ]


def copy_out(ring: Ring, limit: int) -> list[bytes]:
    """Take up to ``limit`` frames out of an rx ring and give their slots back.

    Raises CorruptError as `look` does, with nothing taken.
    """
    taken, pieces, counts = look(ring, limit)
    if not taken:
        return []
    memory = ring.memory
    frames = [memory[begin:end] for begin, end in pieces]
    if counts:
        parts = iter(frames)
        frames = [b"".join([next(parts) for _ in range(n)]) for n in counts]
    ring.advance(taken)
    return frames


def views(ring: Ring, octets: memoryview, limit: int) -> list[memoryview]:
    """Views of up to ``limit`` frames of one slot each; their slots are in use.

    ``octets`` is a view of the memory; read-only gives read-only ones. Valid
    until the slots are given back (`Ring.release`). A frame of several slots
    ends the batch, so that an empty list may mean that one is next. Raises
    CorruptError as `look` does.
    """
    taken, pieces, counts = look(ring, limit)
    if counts:
        taken = next((i for i, n in enumerate(counts) if n > 1), len(counts))
        pieces = pieces[:taken]
    if not taken:
        return []
    lent = [octets[begin:end] for begin, end in pieces]
    ring.hold(taken)
    return lent


# -- sending -------------------------------------------------------------------


def copy_in(ring: Ring, frames: Sequence[Buffer]) -> int:
    """Put frames into a tx ring's buffers and give those slots to the kernel.

    Takes them from the front, as many as there is room for; returns how many.
    A frame longer than a buffer goes into several slots. Raises FrameError for
    one that takes more than MAX_FRAGS, with nothing taken, and CorruptError for
    a buffer number that is out of range.
    """
    room = ring.available()
    if len(frames) > room:
        frames = frames[:room]
    if not frames:
        return 0
    sizes = [len(f) if type(f) is bytes else memoryview(f).nbytes for f in frames]
    if max(sizes) > ring.buf_size:
        return _copy_fragments(ring, frames, sizes, room)
    _store(ring, frames, sizes, b"")
    ring.advance(len(frames))
    return len(frames)


def _copy_fragments(
    ring: Ring, frames: Sequence[Buffer], sizes: list[int], room: int
) -> int:
    """`copy_in` where a frame is longer than a buffer."""
    size = ring.buf_size
    most = size * abi.MAX_FRAGS
    if max(sizes) > most:
        cause = f"a frame has {max(sizes)} octets, {abi.MAX_FRAGS} slots hold {most}"
        raise FrameError(ring.name, cause, "send shorter frames")
    pieces: list[Buffer] = []
    flags = bytearray()
    taken = 0
    for frame, length in zip(frames, sizes, strict=True):
        count = max(1, -(-length // size))
        if len(pieces) + count > room:
            break
        octets = memoryview(frame).cast("B")
        pieces += [octets[at : at + size] for at in range(0, max(1, length), size)]
        flags += bytes((abi.MOREFRAG,)) * (count - 1) + b"\0"
        taken += 1
    if taken:
        _store(ring, pieces, [len(memoryview(p)) for p in pieces], bytes(flags))
        ring.advance(len(pieces))
    return taken


def _store(ring: Ring, frames: Sequence[Buffer], sizes: list[int], more: bytes) -> None:
    """Fill the next slots, a piece each: octets, lengths and flags.

    ``more`` has MOREFRAG for the pieces behind which another follows.
    """
    memory, base, size = ring.memory, ring.buffers_at, ring.buf_size
    octets = slots(ring, len(frames))
    numbers = ring.limits.numbers(octets)
    for frame, length, index in zip(frames, sizes, numbers, strict=True):
        at = base + index * size
        memory[at : at + length] = frame if type(frame) is bytes else bytes(frame)
    flags = octets[FLAGS_LOWS].translate(KEPT)
    set_lengths(ring, sizes, bytes(map(or_, flags, more)) if more else flags)


def set_lengths(ring: Ring, sizes: Sequence[int], flags: bytes) -> None:
    """Store lengths and flags (an octet each) in the next slots."""
    memory, done = ring.memory, 0
    low = bytes([size & 0xFF for size in sizes])
    high = bytes([size >> 8 for size in sizes])
    for begin, end in ring.runs(len(sizes)):
        more = done + (end - begin) // STEP
        memory[begin + LEN_LOW : end : STEP] = low[done:more]
        memory[begin + LEN_HIGH : end : STEP] = high[done:more]
        memory[begin + FLAGS_LOW : end : STEP] = flags[done:more]
        memory[begin + FLAGS_HIGH : end : STEP] = bytes(more - done)
        done = more


def point(ring: Ring, places: Sequence[tuple[int, int]]) -> int:
    """Let the next slots of a tx ring name octets outside of the region.

    ``places`` has address and length of each frame in this process's memory,
    which the kernel reads at the sync (NS_INDIRECT: VALE ports only). They
    must stay until then. Gives the slots to the kernel; returns how many.
    Raises FrameError for a length that a buffer would not hold.
    """
    count = min(ring.available(), len(places))
    sizes = [size for _, size in places[:count]]
    if sizes and max(sizes) > ring.buf_size:
        cause = f"a frame has {max(sizes)} octets, a slot holds {ring.buf_size}"
        raise FrameError(ring.name, cause, "send it by copy, in fragments")
    kept = slots(ring, count)[FLAGS_LOWS].translate(KEPT)
    flags = bytes(map(or_, kept, repeat(abi.INDIRECT)))
    set_lengths(ring, sizes, flags)
    at = ring.cur
    for address, _ in places[:count]:
        place = ring.slots_at + at * STEP + 8
        ring.memory[place : place + 8] = address.to_bytes(8, sys.byteorder)
        at = (at + 1) % ring.slots
    ring.advance(count)
    return count
