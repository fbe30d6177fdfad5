"""Checks of a batch of netmap slots: buffer numbers and lengths in range.

A loop in Python over the slots would cost more than all else that is done with
them. So columns of octets are looked at (the high octets of all lengths, say),
by slices and bytes.translate, which are loops in C. Columns tell that all is
well or that something may not be; only then are the numbers themselves read.
"""

from __future__ import annotations

import sys

from rumphyper.errors import CorruptError
from rumphyper.ring import netmap_abi as abi

_SWAP = 0 if sys.byteorder == "little" else 1
_INDEX = (3, 2, 1, 0) if _SWAP else (0, 1, 2, 3)
"""Offsets in a slot of buf_idx's octets, the low one first."""
LEN_LOW, LEN_HIGH = abi.LEN + _SWAP, abi.LEN + 1 - _SWAP
FLAGS_LOW, FLAGS_HIGH = abi.FLAGS + _SWAP, abi.FLAGS + 1 - _SWAP
STEP = abi.SLOT_SIZE
LEN_HIGHS = slice(LEN_HIGH, None, STEP)
FLAGS_LOWS = slice(FLAGS_LOW, None, STEP)
"""Columns of the octets of whole slots."""


_COLUMNS = [slice(at, None, STEP) for at in _INDEX]
"""Columns of the octets of buf_idx, the low one first."""

_RESERVED = [n.to_bytes(4, sys.byteorder) for n in range(abi.FIRST_BUFFER)]
"""Numbers of buffers that are the kernel's own."""


class Limits:
    """What a slot of one region may say: a buffer below ``buffers``, a length.

    ``buf_size`` is the octets of a buffer.
    """

    def __init__(self, name: str, buffers: int, buf_size: int) -> None:
        self.name = name
        self.buffers = buffers
        self.buf_size = buf_size
        byte = 3 if buffers >> 24 else 2
        self.column = slice(_INDEX[byte], None, STEP)
        """Where the high octets are that tell most about a buffer's number."""

        self.sure = bytes(range(min(256, buffers >> (8 * byte))))
        """Values there with which every number is in range. 0 may not be sure."""

        byte = 3 if buffers > 1 << 24 else 2 if buffers > 1 << 16 else 1
        self._above = _COLUMNS[byte + 1 :]
        self._high = _COLUMNS[byte]
        self._in_range = bytes(range(buffers >> (8 * byte)))
        """Octets there with which no number is too high, if all above are 0."""

        self.sure_lengths = bytes(range(min(256, buf_size >> 8)))
        """Values of a length's high octet with which every length is."""

    def check(self, slots: bytes) -> tuple[list[int], list[int]]:
        """Check a copy of whole slots; return the buffers and the lengths.

        CorruptError names the first that is out of range.
        """
        indices = self.numbers(slots)
        lengths = memoryview(slots).cast("H")[abi.LEN // 2 :: STEP // 2].tolist()
        if max(lengths) > self.buf_size:
            raise self._first_bad(indices, lengths)
        return indices, lengths

    def numbers(self, slots: bytes) -> list[int]:
        """The buffer of each of these slots, whose lengths do not count yet.

        CorruptError names the first that is out of range.
        """
        indices = memoryview(slots).cast("I")[:: STEP // 4].tolist()
        if min(indices) < abi.FIRST_BUFFER or max(indices) >= self.buffers:
            raise self._first_bad(indices, [0] * len(indices))
        return indices

    def check_numbers(self, slots: bytes, zeros: bytes) -> None:
        """Check every buffer's number; ``zeros`` is an octet 0 for each slot, or more.

        `numbers` does so too, but makes an int of each, which takes five times as
        long. It is asked where columns do not tell: about buffers in the last
        part of a region whose size is no round number. Raises what it raises.
        """
        for column in self._above:
            if slots[column] > zeros:
                self.numbers(slots)
        high = slots[self._high]
        if high.translate(None, self._in_range):
            self.numbers(slots)
        # The kernel's own: only where the second octet is 0 the first matters.
        if b"\0" in (high if self._high is _COLUMNS[1] else slots[_COLUMNS[1]]):
            low = slots[_COLUMNS[0]]
            for octet in range(abi.FIRST_BUFFER):
                at = low.find(octet)
                while at >= 0:
                    place = at * STEP
                    if slots[place : place + 4] == _RESERVED[octet]:
                        self.numbers(slots)
                    at = low.find(octet, at + 1)

    def _first_bad(self, indices: list[int], lengths: list[int]) -> CorruptError:
        pairs = zip(indices, lengths, strict=True)
        for place, (index, length) in enumerate(pairs):
            what = f"slot {place} of the batch has"
            if not abi.FIRST_BUFFER <= index < self.buffers:
                return self._error(
                    f"{what} buffer {index}, there are {abi.FIRST_BUFFER} to "
                    f"{self.buffers - 1}"
                )
            if length > self.buf_size:
                return self._error(
                    f"{what} length {length}, a buffer has {self.buf_size} octets"
                )
        raise AssertionError("all slots are in range")

    def _error(self, cause: str) -> CorruptError:
        remedy = "close the port and open it again; let no other process use its rings"
        return CorruptError(self.name, cause, remedy)
