"""The host side of NetBSD's components: virtif, shmif, PCI.

The types are those of the catalogue's prototypes (`Hypercall.prototype`); a test
holds every line against the catalogue.
"""

from _ctypes import _CArgObject, _Pointer
from ctypes import (
    Array,
    Structure,
    c_int,
    c_uint,
    c_ulong,
    c_void_p,
)
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T", bound=Any)
Address: TypeAlias = int | c_void_p | Structure | Array[Any] | _CArgObject | None
"""What goes for a C pointer: an address, NULL, or an object that has one."""

Out: TypeAlias = _Pointer[T] | _CArgObject | None
"""A pointer through which the function returns a value: ``byref(...)``."""

class LibRumpcomp:
    """What drivers in a rump kernel call in their host."""

    def rumpcomp_virt_create(
        self, devstr: bytes | None, sc: Address, enaddr: Address, viup: Out[c_void_p], /
    ) -> int: ...
    def rumpcomp_virt_dying(self, user: Address, /) -> int: ...
    def rumpcomp_virt_destroy(self, user: Address, /) -> None: ...
    def rumpcomp_virt_send(
        self, user: Address, iov: Address, iovlen: int, /
    ) -> None: ...
    def rumpcomp_shmif_watchsetup(self, handlep: Out[c_int], fd: int, /) -> int: ...
    def rumpcomp_shmif_watchwait(self, handle: int, /) -> int: ...
    def rumpcomp_shmif_mmap(self, fd: int, len: int, memp: Out[c_void_p], /) -> int: ...
    def rumpcomp_pci_iospace_init(self) -> int: ...
    def rumpcomp_pci_map(self, addr: int, len: int, /) -> int | None: ...
    def rumpcomp_pci_confread(
        self, bus: int, dev: int, fun: int, reg: int, valuep: Out[c_uint], /
    ) -> int: ...
    def rumpcomp_pci_confwrite(
        self, bus: int, dev: int, fun: int, reg: int, value: int, /
    ) -> int: ...
    def rumpcomp_pci_irq_map(
        self, bus: int, dev: int, fun: int, line: int, cookie: int, /
    ) -> int: ...
    def rumpcomp_pci_irq_establish(
        self, cookie: int, handler: Address, data: Address, /
    ) -> int | None: ...
    def rumpcomp_pci_dmalloc(
        self, size: int, align: int, pap: Out[c_ulong], vap: Out[c_ulong], /
    ) -> int: ...
    def rumpcomp_pci_dmafree(self, va: int, size: int, /) -> None: ...
    def rumpcomp_pci_dmamem_map(
        self, dss: Address, nseg: int, totlen: int, vap: Out[c_void_p], /
    ) -> int: ...
    def rumpcomp_pci_virt_to_mach(self, va: Address, /) -> int: ...
