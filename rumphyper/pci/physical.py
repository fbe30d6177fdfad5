"""DMA memory without an IOMMU: huge pages at their physical addresses.

Huge pages stay where they are while they are mapped, which ordinary pages do
not. Nothing keeps the device from other memory: a wrong address in its registers
overwrites the host's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import attrs

from rumphyper.pci.dma import DmaBuffer, Segment
from rumphyper.pci.errors import DmaError
from rumphyper.pci.iova import FreeRanges, Need
from rumphyper.pci.memory import HUGEPAGE, Pages
from rumphyper.pci.pagemap import physical

GRANULE = 64
"""Octets that all sizes are rounded up to: a line of the caches."""


@attrs.frozen(eq=False)
class _Run:
    """A part of ``pages`` that is contiguous here and on the bus."""

    pages: Pages
    segment: Segment
    free: FreeRanges


class PhysicalMemory:
    """Hands out parts of huge pages; ``translate`` is `pagemap.physical`.

    Pages once got are kept until `close`. Raises DmaError, DeniedError.
    """

    def __init__(
        self, translate: Callable[[int, int, int], list[int]] = physical
    ) -> None:
        self._translate = translate
        self._lock = threading.Lock()
        self._runs: list[_Run] = []
        self._pages: list[Pages] = []

    def allocate(self, need: Need, *, huge: bool = True) -> DmaBuffer:
        """Zeroed memory as ``need`` says; it is always of huge pages."""
        asked = need.size
        size = -(-asked // GRANULE) * GRANULE
        need = attrs.evolve(need, size=size, align=max(need.align, GRANULE))
        with self._lock:
            found = self._find(need, self._runs) or self._grow(need)
            if found is None:
                raise _unfit(need)
            run, bus = found
        offset = run.segment.offset + bus - run.segment.bus
        view = run.pages.view[offset : offset + asked]
        view[:] = bytes(asked)

        def release() -> None:
            with self._lock:
                run.free.give(bus, size)

        segment = Segment(0, bus, asked)
        return DmaBuffer(view, run.pages.address + offset, [segment], release)

    def arena(self, size: int, address: int, *, huge: bool = True) -> DmaBuffer:
        """Huge pages at a fixed address, in the order that they come."""
        pages = Pages(size, address=address, huge=True)
        try:
            segments = list(self._segments(pages))
        except BaseException:
            pages.close()
            raise
        with self._lock:
            self._pages.append(pages)
        return DmaBuffer(pages.view[:size], pages.address, segments, lambda: None)

    def close(self) -> None:
        """Let go of all pages. Idempotent."""
        with self._lock:
            self._runs.clear()
            while self._pages:
                self._pages.pop().close()

    def _find(self, need: Need, runs: list[_Run]) -> tuple[_Run, int] | None:
        for run in runs:
            bus = run.free.allocate(need)
            if bus is not None:
                return run, bus
        return None

    def _grow(self, need: Need) -> tuple[_Run, int] | None:
        """Get more huge pages, and keep them if the need fits in."""
        pages = Pages(need.size, huge=True)
        try:
            runs = [_run(pages, segment) for segment in self._segments(pages)]
            found = self._find(need, runs)
        except BaseException:
            pages.close()
            raise
        if found is None:
            pages.close()
        else:
            self._pages.append(pages)
            self._runs += runs
        return found

    def _segments(self, pages: Pages) -> Iterator[Segment]:
        """The pages, those joined that follow each other on the bus."""
        places = self._translate(pages.address, pages.size, HUGEPAGE)
        start, first = 0, places[0]
        for index, place in enumerate([*places[1:], -1], 1):
            end = index * HUGEPAGE
            if place != first + end - start:
                yield Segment(start, first, end - start)
                start, first = end, place


def _run(pages: Pages, segment: Segment) -> _Run:
    free = FreeRanges([(segment.bus, segment.bus + segment.size)])
    return _Run(pages, segment, free)


def _unfit(need: Need) -> DmaError:
    wants = [f"align {need.align:#x}"]
    if need.boundary:
        wants.append(f"boundary {need.boundary:#x}")
    if need.below:
        wants.append(f"below {need.below:#x}")
    cause = f"no huge pages lie so in physical memory ({', '.join(wants)})"
    remedy = "ask for at most 2 MiB at once, or use vfio with an IOMMU"
    return DmaError(f"DMA memory of {need.size} octets", cause, remedy)
