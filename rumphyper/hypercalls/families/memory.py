"""Memory for the kernel: aligned allocations and anonymous mappings.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_mem.c.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

from rumphyper.host.libc import MAP_FAILED, libc
from rumphyper.hypercalls.errno import Errno, to_netbsd
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError

POINTER_SIZE = ctypes.sizeof(ctypes.c_void_p)


def check_alignment(alignment: int) -> int:
    """The alignment of a malloc in octets. Raises HypercallError."""
    if alignment == 0:
        return POINTER_SIZE
    if alignment < POINTER_SIZE or alignment & (alignment - 1):
        raise HypercallError(
            f"alignment {alignment}",
            f"not a power of two of at least {POINTER_SIZE}",
            "a bug of the kernel",
        )
    return alignment


def page_alignment(alignbit: int) -> int:
    """The alignment of a mapping in octets. Raises HypercallError."""
    if not 0 <= alignbit < 8 * POINTER_SIZE - 1:
        raise HypercallError(f"alignment of 2 ** {alignbit}", "out of range")
    return 1 << alignbit


class Memory(Family):
    """The host's malloc and mmap.

    What has been allocated is kept in mind: freeing anything else, or the same
    twice, is refused and reported where the stock library would hand it to
    free(3). So malloc and free belong together; an override of one has to call
    the other's family, or replace both.

    An alignment that is no power of two, or below that of a pointer, is a bug
    of the kernel for which posix_memalign(3) has EINVAL. The stock library
    aborts then; here the call fails and says so.
    """

    family = "memory"

    def __init__(self) -> None:
        library = libc()
        word, pointer = ctypes.c_size_t, ctypes.c_void_p
        self._memalign = ctypes.CFUNCTYPE(ctypes.c_int, pointer, word, word)(
            ("posix_memalign", library)
        )
        self._free = ctypes.CFUNCTYPE(None, word)(("free", library))
        self._mmap = ctypes.CFUNCTYPE(
            word, word, word, ctypes.c_int, ctypes.c_int, ctypes.c_int,
            ctypes.c_int64, use_errno=True,
        )(("mmap", library))  # fmt: skip
        self._allocated: set[int] = set()
        self._munmap = ctypes.CFUNCTYPE(ctypes.c_int, word, word, use_errno=True)(
            ("munmap", library)
        )

    def malloc(self, howmuch: int, alignment: int, memp: Any) -> int:
        """Allocate; on failure ``*memp`` is NULL."""
        memp[0] = None
        number = self._memalign(memp, check_alignment(alignment), howmuch)
        if number:
            return to_netbsd(number)
        self._allocated.add(memp[0])
        return 0

    def free(self, mem: int, length: int) -> None:
        """Free what malloc gave; nothing for NULL."""
        try:
            self._allocated.remove(mem)  # before another thread can be given it
        except KeyError:
            if mem:
                raise HypercallError(
                    f"memory at {mem:#x}",
                    "not from rumpuser_malloc, or freed already",
                    "a bug of the kernel",
                ) from None
        else:
            self._free(mem)

    def anonmmap(
        self, prefaddr: int, size: int, alignbit: int, exec_: int, memp: Any
    ) -> int:
        """Map zeroed pages, aligned to ``2 ** alignbit`` octets.

        The stock library ignores the alignment on hosts whose mmap cannot do
        it; here the surplus of a larger mapping is cut off.
        """
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        if exec_:
            protection |= mmap.PROT_EXEC
        alignment = page_alignment(alignbit)
        if not size:
            return Errno.EINVAL
        extra = alignment if alignment > mmap.PAGESIZE else 0
        if size + extra >= 1 << (8 * POINTER_SIZE):
            return Errno.ENOMEM
        address = self._mmap(
            prefaddr, size + extra, protection,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0,
        )  # fmt: skip
        if address == MAP_FAILED:
            return to_netbsd(ctypes.get_errno())
        if extra:
            address = self._cut(address, size, alignment)
        memp[0] = address
        return 0

    def _cut(self, address: int, size: int, alignment: int) -> int:
        """Unmap what lies around ``size`` octets at the first aligned address."""
        start = -(-address // alignment) * alignment
        end = start + -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        whole = address + -(-(size + alignment) // mmap.PAGESIZE) * mmap.PAGESIZE
        if start > address:
            self._munmap(address, start - address)
        if whole > end:
            self._munmap(end, whole - end)
        return start

    def unmap(self, addr: int, length: int) -> None:
        """Unmap pages."""
        if self._munmap(addr, length) == -1:
            number = ctypes.get_errno()
            raise HypercallError(
                f"{length} octets at {addr:#x}",
                f"munmap refuses with errno {number}",
                "a bug of the kernel",
                errno=to_netbsd(number),
            )
