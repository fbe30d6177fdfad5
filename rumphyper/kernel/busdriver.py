"""What NetBSD's shmif driver asks for, such that it can be destroyed safely.

When a shmif interface is destroyed, the driver unmaps the bus and closes its
watch first and waits for its receiving thread last (NetBSD
sys/rump/net/lib/libshmif/if_shmem.c, shmif_unclone): a thread that is just
looking at the bus then touches memory that is gone, about once in two thousand
times, or reads from a descriptor that has become somebody else's. So what the
driver gives back is kept until the interface is gone.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import attrs

from rumphyper.host.libc import libc
from rumphyper.hypercalls.families.shmif import Shmif
from rumphyper.hypercalls.upcalls import Upcalls

WAIT = "rumpcomp_shmif_watchwait"


@attrs.define(eq=False)
class Bus:
    """One mapping of a bus file, and the watch on the file."""

    address: int
    length: int
    watch: int = -1
    given_back: bool = False


class BusDriver(Shmif):
    """The family ``shmif`` for a kernel that runs the stock driver."""

    def __init__(self, upcalls: Upcalls) -> None:
        super().__init__(upcalls)
        self._by_descriptor: dict[int, Bus] = {}
        self._by_address: dict[int, Bus] = {}
        self._by_watch: dict[int, Bus] = {}
        self._lock = threading.Lock()
        self._munmap = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t)(
            ("munmap", libc())
        )

    def mmap(self, fd: int, length: int, memp: Any) -> int:
        """Map the bus; remember where."""
        error = super().mmap(fd, length, memp)
        if not error:
            bus = Bus(memp[0], length)
            self._by_descriptor[fd] = self._by_address[bus.address] = bus
        return error

    def watchsetup(self, handlep: Any, fd: int) -> int:
        """Watch the bus file; remember by which descriptor."""
        handle = (ctypes.c_int * 1)(-1)
        error = super().watchsetup(handle, fd)
        if error:
            return error
        bus = self._by_descriptor.pop(fd, None) or Bus(0, 0)
        bus.watch = handlep[0] = handle[0]
        self._by_watch[bus.watch] = bus
        return 0

    def unmap_or_keep(
        self, unmap: Callable[[int, int], None], address: int, length: int
    ) -> None:
        """Stands before rumpuser_unmap: a bus stays mapped until `collect`."""
        bus = self._by_address.get(address)
        if bus is None:
            unmap(address, length)
        else:
            bus.given_back = True

    def close_or_keep(self, close: Callable[[int], int], fd: int) -> int:
        """Stands before rumpuser_close: a watch stays open until `collect`."""
        bus = self._by_watch.get(fd)
        if bus is None:
            return close(fd)
        bus.given_back = True
        return 0

    def collect(self) -> None:
        """Free what was given back: no thread of the kernel uses it any more."""
        with self._lock:
            for watch, bus in list(self._by_watch.items()):
                if bus.given_back:
                    del self._by_watch[watch]
                    os.close(watch)
            for address, bus in list(self._by_address.items()):
                if bus.given_back:
                    del self._by_address[address]
                    self._munmap(address, bus.length)
