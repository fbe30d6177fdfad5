"""Sending one frame again and again: the buffers are filled once.

After that a batch costs moving two indices. Where the kernel, or the far end of
a pipe, has put other buffers into slots it says so by a flag, and only those
are filled again.
"""

from __future__ import annotations

from typing_extensions import Buffer

from rumphyper.errors import FrameError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap import Ring
from rumphyper.ring.netmap_frames import KEPT, set_lengths, slots
from rumphyper.ring.netmap_slots import FLAGS_LOW, FLAGS_LOWS, STEP

_UNCHANGED = bytes(flags for flags in range(256) if not flags & abi.BUF_CHANGED)


class Filler:
    """A tx ring in which every slot holds ``prefix`` and ``frame``.

    Nobody else sends by the ring meanwhile. Raises FrameError for a frame that a
    buffer does not hold.
    """

    def __init__(self, ring: Ring, frame: Buffer, prefix: bytes = b"") -> None:
        self.ring = ring
        self.source = frame
        self.frame = prefix + bytes(frame)
        if len(self.frame) > ring.buf_size:
            cause = f"{len(self.frame)} octets, a buffer has {ring.buf_size}"
            raise FrameError(ring.name, cause, "send it by copy, in fragments")
        self._none = bytes(ring.slots)
        self._ahead = ring.available()
        """Slots from cur on that are filled and have not been sent."""

        self._unfilled = ring.slots - self._ahead
        """Slots behind them, which are filled when they are free."""

        self.fill(self._ahead)

    def send(self, limit: int) -> int:
        """Give up to ``limit`` slots to the kernel; return how many.

        There may be more: a batch ends where the ring's array does. Raises
        CorruptError as `Ring.advance` does, and for a buffer out of range.
        """
        ring = self.ring
        if self._unfilled:
            return self._first(limit)
        at = ring.slots_at + ring.cur * STEP
        if limit > ring.slots - ring.cur:
            limit = ring.slots - ring.cur
        flags = ring.memory[at + FLAGS_LOW : at + limit * STEP : STEP]
        if flags != self._none[:limit] and flags.translate(None, _UNCHANGED):
            self.fill(min(ring.available(), limit))
        return ring.advance(limit)

    def _first(self, limit: int) -> int:
        """`send` while the ring goes round for the first time."""
        if self._ahead:
            count = self.ring.advance(min(limit, self._ahead))
            self._ahead -= count
            return count
        count = min(self.ring.available(), limit, self._unfilled)
        self.fill(count)
        self._unfilled -= count
        return self.ring.advance(count)

    def fill(self, count: int) -> None:
        """Write the frame and its length into the next ``count`` slots' buffers.

        Where a slot has got another buffer that is still to be told to the
        hardware. Raises CorruptError for a buffer that is out of range.
        """
        ring, frame = self.ring, self.frame
        if not count:
            return
        octets = slots(ring, count)
        memory, base, size = ring.memory, ring.buffers_at, ring.buf_size
        length = len(frame)
        for index in ring.limits.numbers(octets):
            at = base + index * size
            memory[at : at + length] = frame
        set_lengths(ring, [length] * count, octets[FLAGS_LOWS].translate(KEPT))
