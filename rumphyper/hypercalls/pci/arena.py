"""The memory that a kernel with PCI devices gets: all of it is within their reach.

A driver hands any memory of the kernel to its device, not just what it allocated
for DMA: mbufs above all. So the kernel's memory comes from one area that was
mapped for the devices once.
"""

from __future__ import annotations

import ctypes
import threading

from rumphyper.pci.dma import DmaBuffer
from rumphyper.pci.iova import FreeRanges, Need

GRANULE = 64
"""Octets that sizes are rounded up to; also what lies between two segments."""


class Arena:
    """Allocates from ``buffer``, for any thread. Sizes are in octets.

    Each run is contiguous on the bus. The kernel takes runs for one on the bus
    when their addresses here follow each other (NetBSD
    sys/rump/dev/lib/libpci/rumpdev_bus_dma.c, _bus_dmamap_load_buffer), so none
    may end where a segment of the buffer ends and the next one begins.
    """

    def __init__(self, buffer: DmaBuffer) -> None:
        self.buffer = buffer
        self.start = buffer.address
        self.size = buffer.size
        self.used = 0
        self.peak = 0
        """The most that ever was in use."""

        self.starved = threading.Event()
        """Set when an allocation has failed."""

        self._sizes: dict[int, int] = {}
        self._lock = threading.Lock()
        last = buffer.segments[-1]
        self._free = FreeRanges(
            (start, start + segment.size - (0 if segment is last else GRANULE))
            for segment in buffer.segments
            for start in (self.start + segment.offset,)
        )

    @property
    def identity(self) -> bool:
        """Whether the devices' addresses are those of this process."""
        first, *more = self.buffer.segments
        return not more and first.bus == self.start

    def holds(self, address: int) -> bool:
        """Whether an address is in the arena, allocated or not."""
        return 0 <= address - self.start < self.size

    def allocate(self, size: int, align: int = GRANULE) -> int | None:
        """The address of ``size`` octets, a multiple of ``align``; None if full.

        They hold what they held before. Raises DmaError for an alignment that is
        no power of two.
        """
        size = -(-max(size, 1) // GRANULE) * GRANULE
        need = Need(size, align if align & (align - 1) else max(align, GRANULE))
        with self._lock:
            address = self._free.allocate(need)
            if address is None:
                self.starved.set()
                return None
            self._sizes[address] = size
            self.used += size
            self.peak = max(self.peak, self.used)
        return address

    def free(self, address: int) -> None:
        """Give back what `allocate` gave. Raises KeyError for anything else."""
        with self._lock:
            size = self._sizes.pop(address)
            self._free.give(address, size)
            self.used -= size

    def bus(self, address: int) -> int:
        """The devices' address of one here. Raises DmaError outside of the arena."""
        return self.buffer.bus(address - self.start)

    def clear(self, address: int, size: int) -> None:
        """Fill with zeros."""
        ctypes.memset(address, 0, size)
