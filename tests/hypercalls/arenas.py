"""Arenas for tests: of memory at its own address, in one segment or several."""

from __future__ import annotations

from collections.abc import Sequence

from rumphyper.hypercalls.pci.arena import Arena
from rumphyper.pci.dma import DmaBuffer, Segment
from rumphyper.pci.memory import Pages

BUS = 0x4000_0000
"""Where the first of several segments is for devices."""

APART = 0x100_0000
"""From one segment's end to the next one's start, on the bus."""


def make_arena(*sizes: int, address: int = 0) -> Arena:
    """An arena with segments of these sizes; one alone is at its own address."""
    pages = Pages(sum(sizes), address=address)
    return Arena(
        DmaBuffer(
            pages.view[: sum(sizes)],
            pages.address,
            list(_segments(pages.address, sizes)),
            pages.close,
        )
    )


def _segments(address: int, sizes: Sequence[int]) -> Sequence[Segment]:
    if len(sizes) == 1:
        return [Segment(0, address, sizes[0])]
    found, offset, bus = [], 0, BUS
    for size in sizes:
        found.append(Segment(offset, bus, size))
        offset += size
        bus += size + APART
    return found
