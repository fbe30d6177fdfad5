"""Equal slots of a buffer that hold one frame each, filled and read in batches.

A slice object costs more to make than a short frame to copy, so those of the sizes
in use are kept.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from typing_extensions import Buffer

SIZES = 16
"""Sizes of frame for which slices and views are kept."""

STRANGE = (BufferError, IndexError, TypeError, ValueError)
"""What copying raises for something that is no buffer of the size that is said."""


class Slots:
    """``count`` slots of ``size`` octets, from octet ``start`` of ``memory`` on.

    Runs of slots given by first and number must lie within `count`: whoever goes
    round a ring splits them. Not for two threads at once.
    """

    def __init__(self, memory: mmap.mmap, start: int, size: int, count: int) -> None:
        self.memory = memory
        self.size = size
        self.count = count
        self.offsets = list(range(start, start + size * count, size))
        self._alike: OrderedDict[int, list[slice]] = OrderedDict()
        self._views: OrderedDict[int, list[memoryview]] = OrderedDict()

    def _slices(self, length: int) -> list[slice]:
        found = self._alike.get(length)
        if found is None:
            found = [slice(at, at + length) for at in self.offsets]
            self._alike[length] = found
            if len(self._alike) > SIZES:
                self._alike.popitem(last=False)
        return found

    def _places(self, first: int, sizes: Sequence[int]) -> Iterable[slice]:
        """The octets of slots from ``first`` on that hold frames of these sizes."""
        end = first + len(sizes)
        if sizes.count(sizes[0]) == len(sizes):
            return self._slices(sizes[0])[first:end]
        return [
            slice(at, at + size)
            for at, size in zip(self.offsets[first:end], sizes, strict=True)
        ]

    def put(self, first: int, frames: Sequence[Buffer], sizes: Sequence[int]) -> None:
        """Copy frames of these sizes, at least one, to the slots from ``first`` on.

        Raises one of `STRANGE` when a frame has not so many octets as its size says.
        """
        memory = self.memory
        for place, frame in zip(self._places(first, sizes), frames, strict=True):
            memory[place] = frame

    def get(self, first: int, sizes: Sequence[int]) -> list[bytes]:
        """Copies of frames of these sizes, at least one, from ``first`` on."""
        return list(map(self.memory.__getitem__, self._places(first, sizes)))

    def views(self, first: int, sizes: Sequence[int]) -> list[memoryview]:
        """Like `get`, but read-only views of the slots."""
        size, end = sizes[0], first + len(sizes)
        if sizes.count(size) == len(sizes):
            found = self._views.get(size)
            if found is None:
                found = self._make_views(self._slices(size))
                self._views[size] = found
                if len(self._views) > SIZES:
                    self._views.popitem(last=False)
            return found[first:end]
        return self._make_views(self._places(first, sizes))

    def _make_views(self, places: Iterable[slice]) -> list[memoryview]:
        with memoryview(self.memory) as whole, whole.toreadonly() as octets:
            return [octets[place] for place in places]

    def drop_views(self) -> None:
        """Forget the views that are kept, which hold the memory."""
        self._views.clear()
