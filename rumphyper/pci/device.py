"""One PCI device, whoever gives access to it: vfio, UIO, or sysfs alone.

`rumphyper.pci.open_device` makes these.
"""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from typing_extensions import Self

from rumphyper.errors import RumphyperError
from rumphyper.pci import regs
from rumphyper.pci.bar import Bar
from rumphyper.pci.config import Config
from rumphyper.pci.dma import DmaBuffer, DmaSource
from rumphyper.pci.errors import DeviceClosedError, DmaError, RegisterError
from rumphyper.pci.iova import Need
from rumphyper.pci.irq import Interrupt, Kind
from rumphyper.pci.sysfs import BarInfo, DeviceInfo

Driver = Literal["vfio", "uio", "sysfs"]


class Device(ABC):
    """An open device: ``config``, BARs, DMA memory, interrupts.

    ``info`` is what sysfs said when it was opened. `close`, and the end of a
    ``with``, switch bus mastering off, take interrupts and DMA memory away and
    release every view of a BAR. Raises the errors of `rumphyper.pci.errors`.

    ``cleanup`` holds what the maker has opened; `close` undoes that last.
    """

    driver: Driver

    def __init__(
        self,
        info: DeviceInfo,
        config: Config,
        cleanup: contextlib.ExitStack,
    ) -> None:
        self.info = info
        self.address = info.address
        self.thing = f"PCI device {info.address}"
        self.config = config
        self._bars: dict[int, Bar] = {}
        self._command = threading.Lock()
        self._closing = threading.RLock()
        self._cleanup = cleanup
        # Undone from the last to the first: the device is stopped before
        # anything is taken from it, and each step is taken if one fails.
        cleanup.callback(config.close)
        cleanup.callback(self._close_bars)
        cleanup.callback(self._stop)

    # -- registers -----------------------------------------------------------

    def bar(self, index: int) -> Bar:
        """The registers behind BAR ``index``, 0 to 5, opened on first use.

        Raises RegisterError for one that the device does not have.
        """
        self._check_open()
        if index not in self._bars:
            info = self.info.bar(index)
            if info is None:
                has = ", ".join(str(bar.index) for bar in self.info.bars)
                cause = f"BAR {index} is not implemented: its size is 0"
                remedy = f"it has {has}" if has else "it has none"
                raise RegisterError(self.thing, cause, remedy)
            self._bars[index] = self._open_bar(info)
        return self._bars[index]

    def bar_at(self, bus_address: int, size: int = 1) -> tuple[Bar, int]:
        """The BAR that holds ``size`` octets at a bus address, and where in it.

        The addresses are those in the BARs' registers now. Raises RegisterError.
        """
        for info in self.info.bars:
            offset = bus_address - self.config.bar_value(info.index)
            if 0 <= offset <= info.size - size:
                return self.bar(info.index), offset
        cause = f"no BAR holds {size} octets at {bus_address:#x}"
        raise RegisterError(self.thing, cause, "see `rumphyper pci show`")

    @abstractmethod
    def _open_bar(self, info: BarInfo) -> Bar:
        """Open a BAR that the device has."""

    # -- the bus -------------------------------------------------------------

    @property
    def bus_master(self) -> bool:
        """Whether the device may start transfers itself: DMA and messages."""
        return bool(self.config.read16(regs.COMMAND) & regs.COMMAND_MASTER)

    @bus_master.setter
    def bus_master(self, on: bool) -> None:
        self.set_command(regs.COMMAND_MASTER, on)

    def set_command(self, bits: int, on: bool) -> None:
        """Set or clear bits of the command register, whichever thread does what."""
        with self._command:
            command = self.config.read16(regs.COMMAND) & ~bits
            self.config.write16(regs.COMMAND, command | bits if on else command)

    @abstractmethod
    def reset(self) -> None:
        """Reset the device alone; it keeps its configuration.

        Raises PciError where the device or the driver cannot.
        """

    # -- DMA -----------------------------------------------------------------

    def dma_alloc(
        self,
        size: int,
        *,
        align: int = 1,
        boundary: int = 0,
        below: int = 0,
        huge: bool = False,
    ) -> DmaBuffer:
        """Zeroed memory of ``size`` octets, contiguous on the bus.

        Its bus address is a multiple of ``align``; it does not cross a multiple
        of ``boundary`` and ends at or before ``below``, where those are not 0.
        ``huge`` asks for huge pages, which UIO always takes. Raises DmaError.
        """
        return self._dma().allocate(Need(size, align, boundary, below), huge=huge)

    def dma_arena(self, size: int, address: int, *, huge: bool = False) -> DmaBuffer:
        """Zeroed memory mapped at ``address`` in this process.

        By an IOMMU its bus address is ``address``, too; by UIO it is of huge
        pages, in as many segments as physical memory has it. Raises DmaError.
        """
        return self._dma().arena(size, address, huge=huge)

    def _dma(self) -> DmaSource:
        """Where DMA memory comes from."""
        raise DmaError(
            self.thing,
            "without a driver nothing would stop its transfers after a crash",
            f"rumphyper pci bind vfio-pci {self.address}",
        )

    # -- interrupts ----------------------------------------------------------

    @abstractmethod
    def interrupt_counts(self) -> dict[str, int]:
        """How many interrupts of each kind the device and the driver offer."""

    @abstractmethod
    def interrupts(self, kind: Kind, count: int = 1) -> tuple[Interrupt, ...]:
        """Have ``count`` interrupts of a kind delivered, from vector 0 on.

        ``intx``, ``msi`` and ``msix`` exclude each other. Raises InterruptError.
        """

    @abstractmethod
    def disable_interrupts(self) -> None:
        """Stop all interrupts and close them."""

    # -- the end -------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.config.closed

    def close(self) -> None:
        """Stop the device and give it up. Idempotent; returns when that is done."""
        with self._closing:  # two threads would take turns with the steps
            self._cleanup.close()

    def after_close(self, callback: Callable[[], object]) -> None:
        """Have something called when the device has been given up."""
        outer = contextlib.ExitStack()
        outer.callback(callback)
        outer.push(self._cleanup)
        self._cleanup = outer

    def _stop(self) -> None:
        """Leave the device unable to start anything, if it is still there."""
        try:
            self.disable_interrupts()
        finally:
            with contextlib.suppress(RumphyperError):  # unplugged: it is stopped
                self.bus_master = False

    def _close_bars(self) -> None:
        for bar in self._bars.values():
            bar.close()

    def _check_open(self) -> None:
        if self.closed:
            raise DeviceClosedError(self.thing, "the device is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
