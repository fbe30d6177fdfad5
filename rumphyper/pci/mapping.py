"""A device's registers in this process, which C code may get the address of."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
import weakref

from rumphyper.errors import HostError
from rumphyper.host.mapping import MAP_FIXED, map_pages, unmap_pages
from rumphyper.pci.errors import explained


class Mapping:
    """``size`` octets at ``offset`` of a descriptor, as ``view``. Raises PciError.

    The mapping keeps the device's file open, the descriptor may be closed. After
    `close` there are zeros in its place, for slices of the view that are still
    held; they go with the last one, or never when C code was given `lend`'s
    address: a thread of it may come back at any time.
    """

    def __init__(
        self, thing: str, fd: int, size: int, offset: int, *, writable: bool
    ) -> None:
        self._size = size
        self._closed = False
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            self._check(fd, offset + size)
            self._address = map_pages(
                size, protection, mmap.MAP_SHARED, fd=fd, offset=offset
            )
        except (OSError, HostError) as error:
            raise explained(error, thing) from None
        array = (ctypes.c_ubyte * size).from_address(self._address)
        self._unmapping = weakref.finalize(array, unmap_pages, self._address, size)
        self._unmapping.atexit = False
        octets = memoryview(array).cast("B")
        self.view = octets if writable else octets.toreadonly()

    def _check(self, fd: int, end: int) -> None:
        """mmap(2) would go past the end of a file, where access is SIGBUS."""
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and end > status.st_size:
            raise OSError(22, f"the file has {status.st_size} octets")

    def lend(self) -> int:
        """The address for C code; from now on something stays mapped there."""
        self._unmapping.detach()
        return self._address

    def close(self) -> None:
        """Let go of the device's file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            map_pages(
                self._size,
                mmap.PROT_READ | mmap.PROT_WRITE,
                mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED,
                address=self._address,
            )
        finally:
            self.view.release()
