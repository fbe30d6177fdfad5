"""Memory that a device reads and writes by itself.

What hands it out is the driver: by an IOMMU (`rumphyper.pci.container`), or as
physical memory where there is none (`rumphyper.pci.physical`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from typing_extensions import Self

from rumphyper.pci.errors import DmaError
from rumphyper.pci.iova import Need


@attrs.frozen
class Segment:
    """A run of a buffer that is contiguous on the bus; sizes are in octets."""

    offset: int
    """From the buffer's start."""

    bus: int
    size: int


class DmaBuffer:
    """``size`` octets at ``address`` here, and elsewhere on the bus.

    ``view`` is the memory for Python, as octets; cast it for wider ones. A
    buffer of `DmaSource.allocate` has one segment, whose bus address is `iova`.
    `close` takes it away from the device; only a device that has stopped may
    lose it.
    """

    def __init__(
        self,
        view: memoryview,
        address: int,
        segments: Sequence[Segment],
        release: Callable[[], None],
    ) -> None:
        self.view = view
        self.address = address
        self.size = len(view)
        self.segments = tuple(segments)
        self._offsets = [segment.offset for segment in self.segments]
        self._release: Callable[[], None] | None = release

    @property
    def iova(self) -> int:
        """The address of the first octet for the device."""
        return self.segments[0].bus

    def bus(self, offset: int, size: int = 1) -> int:
        """The device's address of ``size`` octets from ``offset`` on.

        Raises DmaError where they are not all inside, or not contiguous there.
        """
        thing = f"DMA memory at {self.address:#x}"
        if offset < 0 or size < 1 or offset + size > self.size:
            cause = f"octets {offset:#x} to {offset + size:#x} are outside of it"
            raise DmaError(thing, cause, f"it has {self.size:#x} octets")
        segment = self.segments[bisect_right(self._offsets, offset) - 1]
        inside = offset - segment.offset
        if inside + size > segment.size:
            cause = f"{size} octets at {offset:#x} are in pieces on the bus"
            raise DmaError(thing, cause, "cut them at the segments' borders")
        return segment.bus + inside

    def close(self) -> None:
        """Take the memory away from the device. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            self.view.release()
            release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DmaSource(Protocol):
    """What hands out memory for DMA, to several threads. Raises DmaError."""

    def allocate(self, need: Need, *, huge: bool = False) -> DmaBuffer:
        """Zeroed memory that is contiguous on the bus and as ``need`` says."""

    def arena(self, size: int, address: int, *, huge: bool = False) -> DmaBuffer:
        """Zeroed memory at a fixed address, in as many segments as must be.

        By an IOMMU it is one, with the same address on the bus as here.
        """

    def close(self) -> None:
        """Take all memory away from the device. Idempotent."""
