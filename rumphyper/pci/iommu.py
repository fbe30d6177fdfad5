"""DMA memory by an IOMMU: vfio's type 1 maps pages of this process for devices.

Facts: the kernel's include/uapi/linux/vfio.h, drivers/vfio/vfio_iommu_type1.c.
"""

from __future__ import annotations

import errno
import mmap
import resource
import threading
from collections.abc import Callable

import attrs

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.pci import vfio_abi as abi
from rumphyper.pci.dma import DmaBuffer, Segment
from rumphyper.pci.errors import DmaError
from rumphyper.pci.iova import FreeRanges, Need
from rumphyper.pci.memory import Pages

LOWEST = 1 << 16
"""No run starts below: drivers and devices take bus address 0 for none."""

UNTOLD = ((0, 0xFEDFFFFF),)
"""First and last address that are safe where a kernel before 5.4 tells none."""

_INFO_ROOM = 4096


class IommuMemory:
    """Memory for the devices of one vfio container, open as ``fd``.

    Raises DmaError. The kernel locks what is mapped; it counts against
    RLIMIT_MEMLOCK for who lacks CAP_IPC_LOCK.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._mapped: dict[int, tuple[int, Pages]] = {}
        self._free = FreeRanges()
        self._granule = mmap.PAGESIZE
        self.refresh()

    def refresh(self) -> None:
        """Ask again what may be mapped: another group has joined."""
        sizes, ranges = _iommu_info(self._fd)
        with self._lock:
            if sizes:
                self._granule = max(mmap.PAGESIZE, sizes & -sizes)
            self._free = FreeRanges(
                (max(first, LOWEST), last + 1) for first, last in ranges
            )
            for iova, (size, _) in self._mapped.items():
                self._free.take(iova, size)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The bus addresses that are free: first, and first behind."""
        return self._free.ranges

    def allocate(self, need: Need, *, huge: bool = False) -> DmaBuffer:
        """Zeroed memory as ``need`` says, in whole pages of its own."""
        pages = Pages(need.size, huge=huge)
        align = max(need.align, self._granule, pages.page)
        whole = attrs.evolve(need, size=pages.size, align=align)
        return self._buffer(pages, need.size, lambda: self._place(whole))

    def arena(self, size: int, address: int, *, huge: bool = False) -> DmaBuffer:
        """Zeroed memory with one address, ``address``, here and on the bus."""
        pages = Pages(size, address=address, huge=huge)

        def place() -> int:
            if not self._free.take(address, pages.size):
                raise self._outside(address, pages.size)
            return address

        return self._buffer(pages, size, place)

    def close(self) -> None:
        """Unmap everything for the devices. Idempotent."""
        for iova in list(self._mapped):
            self._release(iova)

    def _buffer(self, pages: Pages, size: int, place: Callable[[], int]) -> DmaBuffer:
        """Map the pages where ``place`` says; give them up if that fails."""
        try:
            with self._lock:
                iova = place()
                try:
                    self._map(pages, iova)
                except BaseException:
                    self._free.give(iova, pages.size)
                    raise
                self._mapped[iova] = (pages.size, pages)
        except BaseException:
            pages.close()
            raise
        segment = Segment(0, iova, size)
        view = pages.view[:size]
        return DmaBuffer(view, pages.address, [segment], lambda: self._release(iova))

    def _place(self, need: Need) -> int:
        iova = self._free.allocate(need)
        if iova is None:
            wants = f"align {need.align:#x}, boundary {need.boundary:#x}"
            wants += f", below {need.below:#x}" if need.below else ""
            cause = f"no such bus addresses are free ({wants})"
            remedy = "close other buffers, or ask for less"
            raise DmaError(f"DMA memory of {need.size} octets", cause, remedy)
        return iova

    def _outside(self, address: int, size: int) -> DmaError:
        free = ", ".join(f"{start:#x}-{end:#x}" for start, end in self._free.ranges)
        cause = f"the IOMMU does not have {address:#x} to {address + size:#x} free"
        return DmaError("DMA memory", cause, f"it has {free}")

    def _map(self, pages: Pages, iova: int) -> None:
        octets = abi.DMA_MAP.size
        request = bytearray(
            abi.DMA_MAP.pack(
                octets, abi.DMA_READ_WRITE, pages.address, iova, pages.size
            )
        )
        thing = f"DMA memory of {pages.size} octets"
        try:
            ioctl(self._fd, abi.IOMMU_MAP_DMA, request, thing)
        except HostError as error:
            raise _refused(error, pages.size) from None

    def _release(self, iova: int) -> None:
        with self._lock:
            size, pages = self._mapped.pop(iova, (0, None))
            if pages is None:
                return
            octets = abi.DMA_UNMAP.size
            request = bytearray(abi.DMA_UNMAP.pack(octets, 0, iova, size))
            ioctl(self._fd, abi.IOMMU_UNMAP_DMA, request, "unmap of DMA memory")
            self._free.give(iova, size)
        pages.close()


def _iommu_info(fd: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The bitmap of page sizes, and the first and last address of each range."""
    info = bytearray(_INFO_ROOM)
    abi.IOMMU_INFO.pack_into(info, 0, len(info), 0, 0, 0, 0)
    ioctl(fd, abi.IOMMU_GET_INFO, info, "IOMMU of the vfio container")
    _, flags, sizes, first, _ = abi.IOMMU_INFO.unpack_from(info)
    if not flags & abi.IOMMU_PAGE_SIZES:
        sizes = 0
    if flags & abi.IOMMU_CAPS:
        for number, body in abi.info_capabilities(bytes(info), first):
            if number == abi.IOMMU_CAP_RANGES:
                count, _ = abi.IOVA_RANGES.unpack_from(info, body)
                start = body + abi.IOVA_RANGES.size
                room = info[start : start + count * abi.IOVA_RANGE.size]
                return sizes, tuple(abi.IOVA_RANGE.iter_unpack(room))
    return sizes, UNTOLD


def _refused(error: HostError, size: int) -> DmaError:
    """What a refused VFIO_IOMMU_MAP_DMA means (vfio_iommu_type1.c)."""
    cause, remedy = error.cause, ""
    if error.errno == errno.ENOMEM:
        limit, locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], _locked()
        if limit != resource.RLIM_INFINITY and locked + size > limit:
            cause = f"RLIMIT_MEMLOCK is {limit} octets, {locked} of them are locked"
            remedy = f"raise it to {locked + size} (ulimit -l {(locked + size) >> 10})"
        else:
            cause = "the host has not so much memory to lock"
    elif error.errno == errno.ENOSPC:
        cause = "the container has as many mappings as it may have"
        remedy = "allocate fewer, larger buffers; vfio_iommu_type1.dma_entry_limit"
    elif error.errno == errno.EINVAL:
        cause = "the IOMMU cannot map these addresses"
        remedy = "take another address, in whole pages"
    return DmaError(error.thing, cause, remedy, error.errno)


def _locked() -> int:
    """Octets that this process has locked; vfio counts its own there, too."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmLck:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0
