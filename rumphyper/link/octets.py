"""Frames of any type of buffer, with as little work a frame as can be.

``len`` counts the octets of what frames mostly are. Where it does not (an array of
words, say), the link finds that out on its way, before anything was sent, and does all
of it again with `octets_of` the frames: see `OctetLink`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import cast

from typing_extensions import Buffer

from rumphyper.link.base import ETHER_HEADER, Link

OCTET_TYPES = {bytes, bytearray}


class StrangeBufferError(TypeError):
    """A buffer of a type other than `OCTET_TYPES`."""


def check_types(frames: Sequence[Buffer]) -> None:
    """Raise StrangeBufferError unless ``len`` counts the octets of each frame."""
    if not OCTET_TYPES.issuperset(map(type, frames)):
        for frame in frames:
            if not isinstance(frame, (bytes, bytearray)):
                view = memoryview(frame)
                if view.format != "B" or view.ndim != 1 or not view.c_contiguous:
                    raise StrangeBufferError


def octets_of(frame: Buffer) -> Buffer:
    """The same octets in one piece, by a type whose length is their number."""
    if isinstance(frame, (bytes, bytearray)):
        return frame
    view = memoryview(frame)
    return view.cast("B") if view.c_contiguous else view.tobytes()


def sizes_of(link: Link, frames: Sequence[Buffer], longest: int) -> list[int]:
    """The ``len`` of each frame, all of them from a header's to ``longest``.

    Raises what the link's ``check_frames`` does, and StrangeBufferError when the frames
    are fit but ``len`` says something else.
    """
    try:
        sizes = list(map(len, cast("Sequence[bytes]", frames)))
    except TypeError:
        raise StrangeBufferError from None
    if sizes:
        low = high = sizes[0]
        if sizes.count(low) < len(sizes):
            low, high = min(sizes), max(sizes)
        if low < ETHER_HEADER or high > longest:
            link.check_frames(frames)
            raise StrangeBufferError
    return sizes


def total(sizes: Sequence[int]) -> int:
    """The sum of sizes, which are often all the same."""
    count = len(sizes)
    if count and sizes.count(sizes[0]) == count:
        return sizes[0] * count
    return sum(sizes)


class OctetLink(Link):
    """A link that takes any buffer for a frame."""

    def send(self, frames: Sequence[Buffer]) -> int:
        """Send a batch.

        Raises FrameError, LinkClosedError, LinkError (the interface is down),
        LinkEndedError (it was deleted).
        """
        with self.tx_lock:
            self.check_open()
            try:
                return self._send(frames)
            except StrangeBufferError:
                return self._send([octets_of(frame) for frame in frames])

    @abc.abstractmethod
    def _send(self, frames: Sequence[Buffer]) -> int:
        """Send a batch; how many of it were taken.

        Raises StrangeBufferError, having sent nothing, when ``len`` does not count
        the octets of some frame, and as `send` does.
        """
