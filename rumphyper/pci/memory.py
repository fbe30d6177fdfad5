"""Memory for DMA: anonymous, shared, of ordinary or of huge pages.

Shared, because private pages would be copied when this process forks (as
subprocess does), and the device would go on with the copy that nobody sees.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref

from rumphyper.errors import HostError
from rumphyper.host.mapping import (
    MAP_FIXED_NOREPLACE,
    MAP_HUGETLB,
    MAP_POPULATE,
    map_pages,
    unmap_pages,
)
from rumphyper.pci.errors import DmaError

HUGE_SHIFT_POSITION = 26
HUGEPAGE = 2 << 20
"""Octets of the huge pages that are asked for."""

FREE_HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"


class Pages:
    """``size`` octets of zeroed memory, rounded up to whole pages.

    ``view`` is for Python, ``address`` for C and the device. After `close` the
    memory goes when the last slice of the view does, never under a user's feet;
    it is not given up when the interpreter ends, for other threads (a rump
    kernel's) may still run in it. Raises DmaError.
    """

    def __init__(self, size: int, *, address: int = 0, huge: bool = False) -> None:
        self.page = HUGEPAGE if huge else mmap.PAGESIZE
        self.size = -(-size // self.page) * self.page
        if size < 1 or address % self.page:
            cause = f"{size} octets at {address:#x} are no run of whole pages"
            raise DmaError("DMA memory", cause, f"pages are of {self.page} octets")
        self.address = _map(self.size, address, huge)
        array = (ctypes.c_ubyte * self.size).from_address(self.address)
        weakref.finalize(array, unmap_pages, self.address, self.size).atexit = False
        self.view = memoryview(array).cast("B")

    def close(self) -> None:
        """Let go of the memory. Idempotent."""
        self.view.release()


def _map(size: int, address: int, huge: bool) -> int:
    flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_POPULATE
    if huge:
        flags |= MAP_HUGETLB | (HUGEPAGE.bit_length() - 1) << HUGE_SHIFT_POSITION
    if address:
        flags |= MAP_FIXED_NOREPLACE
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        found = map_pages(size, protection, flags, address=address)
    except HostError as error:
        raise _refused(error.errno, size, address, huge) from None
    if address and found != address:  # a kernel before 4.17 takes it as a hint
        unmap_pages(found, size)
        raise _refused(errno.EEXIST, size, address, huge)
    return found


def _refused(number: int, size: int, address: int, huge: bool) -> DmaError:
    thing = f"DMA memory of {size} octets"
    if number == errno.EEXIST:
        cause = f"something else is mapped at {address:#x}"
        return DmaError(thing, cause, "take another address", number)
    if huge and number in (errno.ENOMEM, errno.EINVAL):
        need = size // HUGEPAGE
        cause = f"needs {need} free huge pages of 2 MiB, there are {free_hugepages()}"
        remedy = f"echo {2 * need} > /proc/sys/vm/nr_hugepages"
        return DmaError(thing, cause, remedy, number)
    return DmaError(thing, os.strerror(number), "ask for less", number)


def free_hugepages() -> int:
    """How many huge pages of 2 MiB are free; 0 where the kernel has none."""
    try:
        with open(FREE_HUGEPAGES, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0
