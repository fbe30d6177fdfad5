"""The host side of NetBSD's PCI bus, over any devices of rumphyper.pci.

Facts: NetBSD sys/rump/dev/lib/libpci/pci_user.h, rumpdev_pci.c,
rumpdev_bus_dma.c, rumpdev_bus_space.c; sys/dev/pci/pci.c for the scan.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.arena_memory import exhausted
from rumphyper.hypercalls.family import Family, Target
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.pci.arena import Arena
from rumphyper.hypercalls.pci.card import ABSENT, SLOTS, Card
from rumphyper.hypercalls.pci.service import Service
from rumphyper.hypercalls.receiver import Component
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import HypercallError
from rumphyper.pci.errors import DmaError, RegisterError

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

NOWHERE = -4096 & (1 << 8 * ctypes.sizeof(ctypes.c_void_p)) - 1
"""The bus address of what no device may touch: nothing answers there."""


class DmaSegment(ctypes.Structure):
    """struct rumpcomp_pci_dmaseg: on the bus, octets, and from dmalloc."""

    _fields_ = [(name, ctypes.c_ulong) for name in ("pa", "len", "vacookie")]


class Pci(Family):
    """Gives a kernel the devices of ``cards``, in this order, on its bus 0.

    Their memory is ``arena``'s, and so must all of the kernel's be: see
    `ArenaMemory`. Without cards the bus is empty. The devices are stopped and
    closed by who opened them; `stop` only ends their interrupts.

    A kernel never gives a device or its registers back: NetBSD's component
    panics instead of detaching one.
    """

    family = "pci"

    def __init__(self, cards: Iterable[Card] = (), arena: Arena | None = None) -> None:
        self.cards = tuple(cards)
        self.arena = arena
        if len(self.cards) > SLOTS:
            cause = f"a bus has {SLOTS} slots"
            raise UnsupportedError(f"{len(self.cards)} PCI devices", cause)
        self.services: dict[Card, Service] = {}
        self._cookies: dict[int, Card] = {}
        self._handles: Handles[Service] = Handles("interrupt")

    def target(self, call: Hypercall) -> Target | None:
        """C answers with the address itself where it is the devices', too.

        The kernel asks for each frame that it sends or receives.
        """
        same = self.arena is not None and self.arena.identity
        if call.method == "virt_to_mach" and same:
            return ctypes.cast(libc().labs, ctypes.c_void_p).value
        return super().target(call)

    def start(self, hypervisor: Hypervisor) -> None:
        """Get hold of the component functions."""
        self._reporter = hypervisor.reporter
        self._component = Component.of(hypervisor)

    def stop(self) -> None:
        """Let no interrupt come any more; their threads end."""
        for card in self.services:
            card.device.disable_interrupts()

    # -- configuration space ---------------------------------------------------

    def confread(self, bus: int, dev: int, fun: int, reg: int, valuep: Any) -> int:
        """Read configuration space; the kernel does not look at the result."""
        valuep[0] = ABSENT
        card = self._card(bus, dev, fun)
        if card is None:
            return Errno.ENODEV
        valuep[0] = card.read(reg)
        return 0

    def confwrite(self, bus: int, dev: int, fun: int, reg: int, value: int) -> int:
        """Write configuration space."""
        card = self._card(bus, dev, fun)
        if card is None:
            return Errno.ENODEV
        card.write(reg, value)
        return 0

    def _card(self, bus: int, dev: int, fun: int) -> Card | None:
        if bus or fun or dev >= len(self.cards):
            return None
        return self.cards[dev]

    # -- registers -------------------------------------------------------------

    def iospace_init(self) -> int:
        """Refuse I/O ports: an instruction would reach the host's, past vfio.

        The kernel goes on without them, and drivers use memory.
        """
        return Errno.EPERM

    def map(self, addr: int, len: int) -> int:
        """The address of the registers that a BAR's value stands for."""
        for card in self.cards:
            try:
                bar, offset = card.device.bar_at(addr, len)
            except RegisterError:
                continue
            return bar.address + offset
        raise HypercallError(
            f"{len} octets at bus address {addr:#x}",
            "no BAR of the kernel's devices holds them",
            "a bug of the kernel",
        )

    # -- interrupts ------------------------------------------------------------

    def irq_map(self, bus: int, dev: int, fun: int, line: int, cookie: int) -> int:
        """Keep the kernel's name for the interrupt of a device."""
        card = self._card(bus, dev, fun)
        if card is None:
            return Errno.ENODEV
        self._cookies[cookie] = card
        return 0

    def irq_establish(self, cookie: int, handler: int, data: int) -> int:
        """Serve the interrupt by a handler; the first one starts the thread."""
        card = self._cookies.get(cookie)
        if card is None:
            raise HypercallError(
                f"interrupt {cookie}", "no device has it", "a bug of the kernel"
            )
        service = self.services.get(card)
        if service is None:
            service = Service(card.interrupt(), self._component, self._reporter)
            service.add(handler, data)
            try:
                service.start()
            except RuntimeError as error:
                card.device.disable_interrupts()
                remedy = "end other threads"
                raise HypercallError(card.device.thing, str(error), remedy) from None
            self.services[card] = service
        else:
            service.add(handler, data)
        return self._handles.add(service)

    # -- memory ----------------------------------------------------------------

    def dmalloc(self, size: int, align: int, pap: Any, vap: Any) -> int:
        """Zeroed memory that is contiguous, and aligned, on the bus."""
        arena = self._arena()
        address = arena.allocate(size, align or 1)
        if address is None:
            raise exhausted(arena, size)
        bus = arena.bus(address)
        if align and bus % align:
            arena.free(address)
            cause = f"its alignment of {align:#x} is more than a segment's"
            remedy = "use vfio, or larger huge pages"
            thing = f"DMA memory of {size} octets"
            raise HypercallError(thing, cause, remedy, errno=Errno.ENOMEM)
        arena.clear(address, size)
        pap[0], vap[0] = bus, address
        return 0

    def dmafree(self, va: int, size: int) -> None:
        """Free what dmalloc gave."""
        try:
            self._arena().free(va)
        except KeyError:
            raise HypercallError(
                f"DMA memory at {va:#x}", "not from dmalloc, or freed already"
            ) from None

    def dmamem_map(self, dss: int, nseg: int, totlen: int, vap: Any) -> int:
        """One address for all segments: they are parts of one allocation.

        The kernel cuts one into segments where the driver has set a boundary.
        """
        vap[0] = None
        arena = self._arena()
        segments = (DmaSegment * nseg).from_address(dss)
        start = end = segments[0].vacookie if nseg else 0
        for segment in segments:
            thing = f"DMA segment of {segment.len} octets at {segment.vacookie:#x}"
            if segment.vacookie != end:
                cause = f"it does not follow the one before, which ends at {end:#x}"
                raise HypercallError(thing, cause, "map parts of one allocation only")
            end += segment.len
            if not arena.holds(start) or end > arena.start + arena.size:
                raise HypercallError(thing, "it is not in the arena")
        if end - start < max(totlen, 1):
            cause = f"the {nseg} segments have {end - start}"
            raise HypercallError(f"DMA memory of {totlen} octets", cause)
        vap[0] = start
        return 0

    def virt_to_mach(self, va: int) -> int:
        """The bus address of any memory of the kernel."""
        try:
            return self._arena().bus(va)
        except DmaError as error:
            self._reporter.exception("rumpcomp_pci_virt_to_mach", error)
            return NOWHERE

    def _arena(self) -> Arena:
        if self.arena is None:
            raise HypercallError(
                "DMA memory",
                "the kernel was given no devices",
                "name them: boot(pci=[...])",
                errno=Errno.ENOMEM,
            )
        return self.arena
