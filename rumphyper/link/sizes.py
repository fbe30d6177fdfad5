"""The sizes of a batch of frames, found with as little work a frame as can be.

``len`` counts the octets of what frames mostly are. Where it does not (an array of
words, say), copying to a place of that size fails, and the link does all of it again
with `octets_of` the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from typing_extensions import Buffer

from rumphyper.link.base import ETHER_HEADER, Link
from rumphyper.link.tap_io import StrangeBufferError


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
