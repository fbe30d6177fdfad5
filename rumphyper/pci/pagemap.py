"""Which physical memory stands behind addresses of this process.

Facts: the kernel's Documentation/admin-guide/mm/pagemap.rst: 64 bits a page, in
the low 55 its frame, in the top one whether it is present.
"""

from __future__ import annotations

import mmap
import os
import struct

from rumphyper.pci.errors import DeniedError, DmaError, opened

PAGEMAP = "/proc/self/pagemap"
_FRAME = (1 << 55) - 1
_PRESENT = 1 << 63


def physical(address: int, size: int, step: int = mmap.PAGESIZE) -> list[int]:
    """The physical address of each ``step`` octets of memory from ``address`` on.

    ``step`` is the size of the pages that the memory is made of. Raises
    DeniedError without CAP_SYS_ADMIN, to whom the kernel shows frame 0, DmaError
    for memory that is not there.
    """
    fd = opened(PAGEMAP, os.O_RDONLY)
    try:
        found = [_one(fd, place) for place in range(address, address + size, step)]
    finally:
        os.close(fd)
    return found


def _one(fd: int, address: int) -> int:
    page, rest = divmod(address, mmap.PAGESIZE)
    data = os.pread(fd, 8, 8 * page)
    entry = struct.unpack("=Q", data)[0] if len(data) == 8 else 0
    if not entry & _PRESENT:
        cause = f"no memory is present at {address:#x}"
        raise DmaError(PAGEMAP, cause, "write to it first, and lock it")
    frame: int = entry & _FRAME
    if not frame:
        remedy = "run as root (CAP_SYS_ADMIN), or use vfio"
        raise DeniedError(PAGEMAP, "the kernel does not show frame numbers", remedy)
    return frame * mmap.PAGESIZE + rest
