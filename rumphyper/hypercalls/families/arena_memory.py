"""The kernel's memory from an arena that PCI devices reach."""

from __future__ import annotations

import mmap
from typing import Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.memory import (
    Memory,
    check_alignment,
    page_alignment,
)
from rumphyper.hypercalls.pci.arena import Arena
from rumphyper.hypercalls.report import HypercallError


class ArenaMemory(Memory):
    """As `Memory`, out of ``arena``.

    Code, and pages that have to be at a certain address, are not the arena's:
    no device touches those.
    """

    def __init__(self, arena: Arena) -> None:
        super().__init__()
        self.arena = arena

    def malloc(self, howmuch: int, alignment: int, memp: Any) -> int:
        """Allocate; on failure ``*memp`` is NULL."""
        memp[0] = None
        memp[0] = self._take(howmuch, check_alignment(alignment))
        return 0

    def free(self, mem: int, length: int) -> None:
        """Free what malloc gave; nothing for NULL."""
        if mem:
            self._give(mem)

    def anonmmap(
        self, prefaddr: int, size: int, alignbit: int, exec_: int, memp: Any
    ) -> int:
        """Map zeroed pages, aligned to ``2 ** alignbit`` octets."""
        if exec_ or prefaddr or not size:
            return super().anonmmap(prefaddr, size, alignbit, exec_, memp)
        alignment = max(page_alignment(alignbit), mmap.PAGESIZE)
        address = self._take(size, alignment)
        self.arena.clear(address, size)
        memp[0] = address
        return 0

    def unmap(self, addr: int, length: int) -> None:
        """Unmap pages."""
        if self.arena.holds(addr):
            self._give(addr)
        else:
            super().unmap(addr, length)

    def _take(self, size: int, alignment: int) -> int:
        address = self.arena.allocate(size, alignment)
        if address is None:
            raise exhausted(self.arena, size)
        return address

    def _give(self, address: int) -> None:
        try:
            self.arena.free(address)
        except KeyError:
            raise HypercallError(
                f"memory at {address:#x}",
                "not allocated in the arena, or freed already",
                "a bug of the kernel",
            ) from None


def exhausted(arena: Arena, size: int) -> HypercallError:
    """The error for what the arena has no room for."""
    return HypercallError(
        f"the kernel's DMA memory of {arena.size >> 20} MiB",
        f"it has no run of {size} octets left",
        REMEDY,
        errno=Errno.ENOMEM,
    )


REMEDY = "give it more: boot(pci_memory=...), rumphyper run --pci-memory MIB"
