"""The PCI devices that a kernel gets: opened together, with one arena.

    boot(pci=["0000:00:03.0,driver=vfio"])

What makes their drivers work is the family of PCI hypercalls over these devices,
and the kernel's memory, which has to be the arena's in every mode.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator

from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.hypercalls.families.arena_memory import REMEDY, ArenaMemory
from rumphyper.hypercalls.families.console import to_stderr
from rumphyper.hypercalls.families.pci import Pci
from rumphyper.hypercalls.pci.arena import Arena
from rumphyper.hypercalls.pci.card import Card
from rumphyper.kernel.pcispec import KERNEL_DRIVERS, PciSpec
from rumphyper.pci.address import Address
from rumphyper.pci.container import Container, is_vfio
from rumphyper.pci.device import Device, Driver
from rumphyper.pci.dma import DmaBuffer
from rumphyper.pci.errors import DeviceBusyError, DmaError, PciError
from rumphyper.pci.opening import open_device
from rumphyper.pci.sysfs import Sysfs
from rumphyper.pci.uio import DRIVERS

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30
ADDRESSES = range(64 * GIBIBYTE, 512 * GIBIBYTE, 4 * GIBIBYTE)
"""Where the arena may be, here and, by an IOMMU, on the bus.

Below 2**39, as far as a small IOMMU reaches, which the addresses that mmap(2)
chooses are not; and no run in it crosses a multiple of 4 GiB.
"""

MEMORY = 32 * MEBIBYTE
"""The arena by default: a boot takes 2 MiB, a gigabit interface another."""

LEAST, MOST = 2 * MEBIBYTE, 4 * GIBIBYTE
PATIENCE = 2.0
"""Seconds that a boot may go on once memory was refused."""

LIMIT = "RUMP_MEMLIMIT"
OUT_OF_MEMORY = "failed to reclaim memory"
"""Of uvm_pageout, NetBSD sys/rump/librump/rumpkern/vm.c."""

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class PciDevices:
    """The devices of ``specs``, for one kernel; to be closed after the kernel.

    ``memory`` is the size of the arena in octets. Raises UnsupportedError and
    the errors of `rumphyper.pci.errors`; nothing is left open then.
    """

    def __init__(self, specs: Iterable[PciSpec], memory: int = MEMORY) -> None:
        if not LEAST <= memory <= MOST:
            raise UnsupportedError(
                f"pci_memory={memory}",
                f"not between {LEAST} and {MOST} octets",
                f"{MEMORY} is the default",
            )
        with contextlib.ExitStack() as stack:
            cards = list(_cards(specs, stack))
            self.devices = tuple(card.device for card in cards)
            self.arena = Arena(_buffer(self.devices[0], memory))
            self.pci = Pci(cards, self.arena)
            self.memory = ArenaMemory(self.arena)
            self._told = False
            self._refused: float | None = None
            """When memory was first refused, in seconds since the boot began."""

            self._cleanup = stack.pop_all()

    @property
    def settings(self) -> dict[str, str]:
        """What the kernel has to find in its environment.

        It does not count all that it allocates, nor what drivers do: the limit
        is an eighth below what there is, at least a mebibyte.
        """
        limit = self.arena.size - max(self.arena.size // 8, MEBIBYTE)
        return {LIMIT: str(min(limit, _octets(os.environ.get(LIMIT, "")) or limit))}

    def listener(
        self, console: Callable[[str], object] | None = None
    ) -> Callable[[str], object]:
        """What the kernel's debug output goes through, to ``console``.

        A kernel that has come to its limit says so, each second; it waits for
        memory meanwhile.
        """
        write = console or to_stderr

        def listen(text: str) -> None:
            write(text)
            if OUT_OF_MEMORY in text and not self._told:
                self._told = True
                self.arena.starved.set()
                write(f"rumphyper: {self.starvation('the kernel wants more')}\n")

        return listen

    def starvation(self, cause: str) -> RumphyperError:
        """The error of too little memory."""
        thing = f"the kernel's DMA memory of {self.arena.size >> 20} MiB"
        return RumphyperError(thing, cause, REMEDY)

    def watch(self, elapsed: float) -> RumphyperError | None:
        """Gives up a boot (`run_init`) some time after memory was refused."""
        if not self.arena.starved.is_set():
            return None
        if self._refused is None:
            self._refused = elapsed
        if elapsed < self._refused + PATIENCE:
            return None
        return self.starvation(
            f"NetBSD does not boot in it; {self.arena.peak} octets were in use"
        )

    def idle(self) -> list[Device]:
        """The devices that no driver of the kernel has asked an interrupt for."""
        return [card.device for card in self.pci.cards if card not in self.pci.services]

    def close(self) -> None:
        """Stop all devices, reset them and give them up. Idempotent."""
        for device in self.devices:
            with contextlib.suppress(PciError):  # unplugged, or closed
                device.disable_interrupts()
                device.bus_master = False
                device.reset()
        self._cleanup.close()


def _cards(specs: Iterable[PciSpec], stack: contextlib.ExitStack) -> Iterator[Card]:
    """Open the devices, all by one kind of driver; ``stack`` closes them."""
    sysfs = Sysfs()
    container: Container | None = None
    opened: dict[Address, Driver] = {}
    for spec in specs:
        address = sysfs.resolve(spec.address)
        if address in opened:
            raise DeviceBusyError(f"PCI device {address}", "given twice", "once is it")
        driver = _driver(sysfs, address, spec)
        others = set(opened.values()) - {driver}
        if others:
            raise UnsupportedError(
                f"PCI device {address} by {driver}",
                f"the others are by {others.pop()}, which has other bus addresses",
                "use one driver for all of a kernel's devices",
            )
        if driver == "vfio" and container is None and sysfs.info(address).group:
            container = stack.enter_context(Container())
        device = open_device(
            address,
            driver=driver,
            bind=KERNEL_DRIVERS.get(spec.driver or ""),
            restore=spec.restore,
            container=container,
        )
        stack.enter_context(device)
        opened[address] = driver
        yield Card(device, spec.irq)


def _driver(sysfs: Sysfs, address: Address, spec: PciSpec) -> Driver:
    if spec.driver is not None:
        return "vfio" if spec.driver == "vfio" else "uio"
    bound = sysfs.info(address).driver
    if is_vfio(bound):
        return "vfio"
    if bound in DRIVERS:
        return "uio"
    raise PciError(
        f"PCI device {address}",
        f"it is bound to {bound or 'no driver'}, not to vfio-pci or UIO",
        f"have it bound meanwhile: {spec.address},driver=vfio,restore",
    )


def _buffer(device: Device, size: int) -> DmaBuffer:
    """Memory at the first of `ADDRESSES` where there is nothing else."""
    for address in ADDRESSES:
        try:
            return device.dma_arena(size, address)
        except DmaError as error:
            if error.errno != errno.EEXIST or address == ADDRESSES[-1]:
                raise
    raise AssertionError("the last one has raised")


def _octets(text: str) -> int:
    """What uvm_init makes of a limit (sys/rump/librump/rumpkern/vm.c), 0 if nothing."""
    found = re.fullmatch(r"(\d+)([kmg]?)", text)
    return int(found[1]) * _UNITS[found[2]] if found else 0
