"""Kernel memory: rumpuser_malloc and rumpuser_anonmmap, with an account."""

from __future__ import annotations

import ctypes

import attrs

from rumphyper.kernel.mini.calls import Calls, check
from rumphyper.kernel.mini.errors import MiniKernelError


@attrs.define(eq=False)
class Memory:
    """All memory that the kernel has from its host.

    Whoever allocates gives it back with `free` or `unmap` and the same size;
    `outstanding` is empty after an orderly shutdown.
    """

    calls: Calls
    allocations: int = 0
    outstanding: dict[int, int] = attrs.field(factory=dict)
    """Octets by address."""

    @property
    def in_use(self) -> int:
        """Octets that the kernel holds now."""
        return sum(self.outstanding.values())

    def allocate(self, size: int, what: str, alignment: int = 16) -> int:
        """Return the address of ``size`` zeroed octets.

        Raises MiniKernelError, with NetBSD's errno, when the host has none.
        """
        address = ctypes.c_void_p()
        errno = self.calls.malloc(size, alignment, ctypes.byref(address))
        check("malloc", errno, f"{size} octets for {what}")
        start = self._enter("malloc", address, size, alignment)
        ctypes.memset(start, 0, size)
        return start

    def free(self, address: int) -> None:
        """Give back what `allocate` returned."""
        self.calls.free(address, self._leave(address))

    def map(self, size: int, what: str) -> int:
        """Return the address of zeroed pages; raises like `allocate`."""
        address = ctypes.c_void_p()
        errno = self.calls.anonmmap(None, size, 0, 0, ctypes.byref(address))
        check("anonmmap", errno, f"{size} octets for {what}")
        start = self._enter("anonmmap", address, size, 4096)
        if any(ctypes.string_at(start, min(size, 4096))):
            self.unmap(start)
            raise MiniKernelError("rumpuser_anonmmap", "the new pages are not zero")
        return start

    def unmap(self, address: int) -> None:
        """Give back what `map` returned."""
        self.calls.unmap(address, self._leave(address))

    def _enter(
        self, call: str, pointer: ctypes.c_void_p, size: int, alignment: int
    ) -> int:
        address = pointer.value or 0
        if not address or address % alignment or address in self.outstanding:
            raise MiniKernelError(
                f"rumpuser_{call}",
                f"gave the address {address:#x} for {size} octets "
                f"aligned to {alignment}",
            )
        self.allocations += 1
        self.outstanding[address] = size
        return address

    def _leave(self, address: int) -> int:
        return self.outstanding.pop(address)
