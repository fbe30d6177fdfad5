"""Addresses on the bus: which are free, and runs of them that fit a device.

Knows nothing of where the addresses come from: the ranges that an IOMMU
translates, or the physical addresses of huge pages.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import attrs

from rumphyper.pci.errors import DmaError


@attrs.frozen
class Need:
    """What a device asks of a run of bus addresses; sizes are in octets.

    ``align`` and ``boundary`` (which the run does not cross, 0 for none) are
    powers of two; the run ends at or before ``below`` (0 for anywhere).
    """

    size: int
    align: int = 1
    boundary: int = 0
    below: int = 0

    def __attrs_post_init__(self) -> None:
        thing = f"DMA memory of {self.size} octets"
        if self.size < 1:
            raise DmaError(thing, "the size is not positive")
        for name, value in (("align", self.align), ("boundary", self.boundary)):
            if value & (value - 1) or value < 0 or (name == "align" and not value):
                cause = f"{name} {value:#x} is no power of two"
                raise DmaError(thing, cause, "take the next one")
        if 0 < self.boundary < self.size:
            cause = f"it cannot help crossing a boundary of {self.boundary:#x}"
            raise DmaError(thing, cause, "ask for several smaller ones")

    def first(self, start: int, end: int) -> int | None:
        """The lowest address in ``start`` to ``end`` where the run fits."""
        place = -(-start // self.align) * self.align
        last = place + self.size - 1
        if self.boundary and place // self.boundary != last // self.boundary:
            place = -(-place // self.boundary) * self.boundary
            place = -(-place // self.align) * self.align
        limit = min(end, self.below) if self.below else end
        return place if place + self.size <= limit else None


class FreeRanges:
    """Ranges of free addresses, ``start`` to before ``end``, for one thread."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._free: list[tuple[int, int]] = []
        for start, end in ranges:
            self.give(start, end - start)

    def allocate(self, need: Need) -> int | None:
        """Take the lowest run that fits; None when there is none."""
        for start, end in self._free:
            place = need.first(start, end)
            if place is not None:
                self.take(place, need.size)
                return place
        return None

    def take(self, start: int, size: int) -> bool:
        """Take just these addresses; false, and nothing done, if one is not free."""
        index = self._at(start)
        if index is None or start + size > self._free[index][1]:
            return False
        low, high = self._free[index]
        rest = [(low, start), (start + size, high)]
        self._free[index : index + 1] = [part for part in rest if part[0] < part[1]]
        return True

    def give(self, start: int, size: int) -> None:
        """Give addresses back; those beside them join. They must not be free."""
        if size <= 0:
            return
        end = start + size
        index = bisect_left(self._free, (start, end))
        if index < len(self._free) and self._free[index][0] < end:
            raise ValueError(f"{start:#x} to {end:#x} is free already")
        if index and self._free[index - 1][1] > start:
            raise ValueError(f"{start:#x} to {end:#x} is free already")
        if index < len(self._free) and self._free[index][0] == end:
            end = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == start:
            index -= 1
            start = self._free.pop(index)[0]
        self._free.insert(index, (start, end))

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """What is free, in order."""
        return tuple(self._free)

    def _at(self, address: int) -> int | None:
        """Which range holds an address."""
        index = bisect_left(self._free, (address + 1, 0)) - 1
        if index < 0 or not self._free[index][0] <= address < self._free[index][1]:
            return None
        return index
