"""Numbers and layouts of vfio, as data.

Source: the kernel's include/uapi/linux/vfio.h and Documentation/driver-api/vfio.rst.
All structures begin with their size (argsz) and are in the host's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rumphyper.host.ioctl import IO

CONTAINER = "/dev/vfio/vfio"
GROUPS = "/dev/vfio"


def _request(number: int) -> int:
    return IO(";", 100 + number)


GET_API_VERSION = _request(0)
CHECK_EXTENSION = _request(1)
SET_IOMMU = _request(2)
GROUP_GET_STATUS = _request(3)
GROUP_SET_CONTAINER = _request(4)
GROUP_GET_DEVICE_FD = _request(6)
DEVICE_GET_REGION_INFO = _request(8)
DEVICE_GET_IRQ_INFO = _request(9)
DEVICE_SET_IRQS = _request(10)
DEVICE_RESET = _request(11)
IOMMU_GET_INFO = _request(12)
IOMMU_MAP_DMA = _request(13)
IOMMU_UNMAP_DMA = _request(14)

API_VERSION = 0
TYPE1V2_IOMMU = 3
NOIOMMU_IOMMU = 8

GROUP_STATUS = struct.Struct("=II")
"""struct vfio_group_status: argsz, flags."""

GROUP_VIABLE = 1 << 0


REGION_INFO = struct.Struct("=IIIIQQ")
"""struct vfio_region_info: argsz, flags, index, offset of capabilities, size, offset
in the device's file."""

REGION_MMAP = 1 << 2
REGION_CAPS = 1 << 3
REGION_CAP_SPARSE_MMAP = 1
REGION_CONFIG = 7

IRQ_INFO = struct.Struct("=IIII")
"""struct vfio_irq_info: argsz, flags, index, count."""

IRQ_INDEXES = {"intx": 0, "msi": 1, "msix": 2, "error": 3, "request": 4}
"""VFIO_PCI_*_IRQ_INDEX; ``request`` asks that the device be given up."""

IRQ_SET = struct.Struct("=IIIII")
"""struct vfio_irq_set: argsz, flags, index, start, count; then the data."""

IRQ_DATA_NONE = 1 << 0
IRQ_DATA_EVENTFD = 1 << 2
IRQ_MASK = 1 << 3
IRQ_UNMASK = 1 << 4
IRQ_TRIGGER = 1 << 5

IOMMU_INFO = struct.Struct("=IIQII")
"""struct vfio_iommu_type1_info: argsz, flags, page sizes, offset of capabilities,
padding."""

IOMMU_PAGE_SIZES = 1 << 0
IOMMU_CAPS = 1 << 1
IOMMU_CAP_RANGES = 1
IOVA_RANGES = struct.Struct("=II")
IOVA_RANGE = struct.Struct("=QQ")
"""struct vfio_iova_range: first, last."""

DMA_MAP = struct.Struct("=IIQQQ")
"""struct vfio_iommu_type1_dma_map: argsz, flags, address, iova, size."""

DMA_READ_WRITE = 3

DMA_UNMAP = struct.Struct("=IIQQ")
"""struct vfio_iommu_type1_dma_unmap: argsz, flags, iova, size."""

CAP_HEADER = struct.Struct("=HHI")
"""struct vfio_info_cap_header: id, version, offset of the next."""


def info_capabilities(info: bytes, first: int) -> Iterator[tuple[int, int]]:
    """The id and the offset of the body of each capability of an info structure."""
    seen = set()
    while first and first not in seen and first + CAP_HEADER.size <= len(info):
        seen.add(first)
        number, _, follows = CAP_HEADER.unpack_from(info, first)
        yield number, first + CAP_HEADER.size
        first = follows
