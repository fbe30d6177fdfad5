"""mmap(2) and munmap(2) by address, for memory that C code gets to see.

Python's mmap objects give no address that outlives them, cannot be put at a place,
and hold a descriptor of their own.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from rumphyper.host.libc import MAP_FAILED, failure, libc

MAP_FIXED = 0x10
MAP_POPULATE = 0x8000
MAP_HUGETLB = 0x40000
MAP_FIXED_NOREPLACE = 0x100000
"""asm-generic/mman-common.h, asm-generic/mman.h; mmap(2)."""


@functools.cache
def _mmap() -> Callable[..., int]:
    word, number = ctypes.c_size_t, ctypes.c_int
    prototype = ctypes.CFUNCTYPE(
        word, word, word, number, number, number, ctypes.c_int64, use_errno=True
    )
    return prototype(("mmap", libc()))


def map_pages(
    size: int,
    protection: int,
    flags: int,
    *,
    address: int = 0,
    fd: int = -1,
    offset: int = 0,
) -> int:
    """Map ``size`` octets; return their address. Raises HostError with errno."""
    found = _mmap()(address, size, protection, flags, fd, offset)
    if found == MAP_FAILED:
        raise failure(f"mapping of {size} octets")
    return found


def unmap_pages(address: int, size: int) -> None:
    """Unmap what `map_pages` has mapped."""
    libc().munmap(ctypes.c_size_t(address), ctypes.c_size_t(size))
