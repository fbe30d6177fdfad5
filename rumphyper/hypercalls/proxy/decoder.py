"""A stream of the syscall proxy cut into frames, each checked before it counts.

A header is checked as soon as it is complete, so a frame that must not come is
refused before anything is kept for its body: memory grows with what has
arrived, never with what was announced.
"""

from __future__ import annotations

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy.frames import (
    HEADER,
    LIMIT,
    Bounds,
    Frame,
    describe,
)

_HEADER_SIZE = HEADER.size


class Decoder:
    """Frames of one direction of one connection.

    ``bounds`` are the frames that may come, `TO_SERVER` or `TO_CLIENT`;
    ``limit`` lowers their longest body. Not for several threads at once::

        decoder.feed(octets)
        while (frame := decoder.next()) is not None:
            ...
    """

    def __init__(self, bounds: Bounds, limit: int = LIMIT) -> None:
        self._bounds = {
            kind: (low, max(low, min(high, limit)))
            for kind, (low, high) in bounds.items()
        }
        self._octets = bytearray()
        self._start = 0
        self._length = 0  # of the frame whose header has been checked, else 0

    @property
    def pending(self) -> int:
        """Octets of a frame that is not complete: not 0 at the end is an error."""
        return len(self._octets) - self._start

    def feed(self, octets: bytes | bytearray | memoryview) -> None:
        """Add what has arrived, in pieces of any size."""
        if self._start:
            del self._octets[: self._start]
            self._start = 0
        self._octets += octets

    def next(self) -> Frame | None:
        """The next frame; None if more must arrive first.

        Raises ProtocolError for a header that is wrong, at each call from then
        on: where the next frame begins is unknown.
        """
        octets, start = self._octets, self._start
        arrived = len(octets) - start
        if arrived < (self._length or _HEADER_SIZE):
            return None
        length, reqno, cls, type, word = HEADER.unpack_from(octets, start)
        if not self._length:
            self._check(length, cls, type)
            if arrived < length:
                self._length = length
                return None
        self._length = 0
        self._start = start + length
        body = bytes(memoryview(octets)[start + _HEADER_SIZE : start + length])
        return Frame(reqno, cls, type, word, body)

    def _check(self, length: int, cls: int, type: int) -> None:
        bound = self._bounds.get((cls, type))
        if bound is None:
            raise ProtocolError(describe(cls, type), "no frame that may come here")
        low, high = bound
        if not low <= length - _HEADER_SIZE <= high:
            right = f"{low + _HEADER_SIZE}"
            if high != low:
                right += f" to {high + _HEADER_SIZE}"
            raise ProtocolError(
                describe(cls, type), f"a length of {length} octets, not {right}"
            )
