"""Devices bound to uio_pci_generic or igb_uio: no IOMMU needed, and none to guard.

Only INTx. Registers and configuration space are reached through sysfs, so root is
needed. The kernel switches bus mastering off when the last descriptor of
/dev/uioN closes, also after kill -9, but it may give the process's memory to
somebody else a moment before: a transfer in flight then hits that. Facts: the
kernel's Documentation/driver-api/uio-howto.rst, drivers/uio/uio_pci_generic.c;
igb_uio of dpdk-kmods.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct

from rumphyper.pci import regs
from rumphyper.pci.bar import Bar
from rumphyper.pci.config import Config
from rumphyper.pci.device import Device
from rumphyper.pci.dma import DmaSource
from rumphyper.pci.errors import (
    DeviceBusyError,
    InterruptError,
    NoIommuError,
    PciError,
    explained,
    opened,
)
from rumphyper.pci.holders import holders
from rumphyper.pci.irq import Interrupt, Kind, unsupported
from rumphyper.pci.physical import PhysicalMemory
from rumphyper.pci.resource import open_bar, open_config, reset
from rumphyper.pci.sysfs import BarInfo, DeviceInfo, Sysfs

DRIVERS = ("uio_pci_generic", "igb_uio")

_COUNT = struct.Struct("=I")


class UioDevice(Device):
    """A device by UIO: ``fd`` is its node, /dev/``name``."""

    driver = "uio"

    def __init__(
        self,
        info: DeviceInfo,
        sysfs: Sysfs,
        name: str,
        fd: int,
        config: Config,
        cleanup: contextlib.ExitStack,
    ) -> None:
        self._sysfs = sysfs
        self._name = name
        self._fd = fd
        self._interrupt: UioInterrupt | None = None
        self._memory: PhysicalMemory | None = None
        cleanup.callback(self._close_memory)
        super().__init__(info, config, cleanup)

    def _open_bar(self, info: BarInfo) -> Bar:
        return open_bar(self._sysfs, self.address, info, writable=self.config.writable)

    def reset(self) -> None:
        self._check_open()
        reset(self._sysfs, self.address)

    def _dma(self) -> DmaSource:
        self._check_open()
        if self._memory is None:
            group = self.info.group
            kind = "" if group is None else self._sysfs.group_type(group)
            if kind.startswith("DMA"):
                cause = f"an IOMMU (type {kind}) keeps it from physical memory"
                remedy = "bind it to vfio-pci, or boot with iommu=pt"
                raise NoIommuError(self.thing, cause, remedy)
            self._memory = PhysicalMemory()
        return self._memory

    def interrupt_counts(self) -> dict[str, int]:
        pin = self.config.read8(regs.INTERRUPT_PIN)
        return {"intx": int(pin != 0)}

    def interrupts(self, kind: Kind, count: int = 1) -> tuple[Interrupt, ...]:
        has = self.interrupt_counts()
        if kind != "intx" or not has["intx"]:
            raise unsupported(self.thing, kind, has)
        if count != 1:
            raise InterruptError(self.thing, f"{count} intx interrupts: it has 1")
        if self._interrupt is not None:
            cause = "it delivers intx interrupts already"
            raise InterruptError(self.thing, cause, "disable_interrupts() first")
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, _COUNT.size)  # what was counted before is nobody's
        total = self._sysfs.text(self.address, f"uio/{self._name}/event")
        interrupt = UioInterrupt(self, os.dup(self._fd), int(total))
        self._interrupt = interrupt
        interrupt.unmask()
        return (interrupt,)

    def disable_interrupts(self) -> None:
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            interrupt.close()
            with contextlib.suppress(PciError):  # unplugged
                self.let_through(False)

    def let_through(self, on: bool) -> None:
        """Open or close the interrupt line at the device."""
        if self.info.driver == "igb_uio":
            try:
                os.write(self._fd, _COUNT.pack(on))
            except OSError as error:
                raise explained(error, f"{self.thing}: intx interrupt") from None
            return
        # The kernel sets this bit, too, and never clears it. All 16 bits are
        # written: QEMU lets a waiting interrupt through for the lower octet only.
        self.set_command(regs.COMMAND_INTX_DISABLE, not on)

    def _close_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()


class UioInterrupt(Interrupt):
    """INTx as /dev/uioN counts it; ``fd`` becomes the interrupt's own."""

    def __init__(self, device: UioDevice, fd: int, total: int) -> None:
        super().__init__(f"{device.thing}: intx interrupt", "intx", 0, fd)
        self._device = device
        self._total = total

    def _count(self, fd: int) -> int:
        before = self._total
        try:
            (self._total,) = _COUNT.unpack(os.read(fd, _COUNT.size))
        except OSError as error:
            if error.errno == errno.EIO:  # the driver has let go of the device
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None
            raise
        return self._total - before & 0xFFFFFFFF

    def unmask(self) -> None:
        self.fileno()
        self._device.let_through(True)


def open_uio(
    info: DeviceInfo,
    *,
    sysfs: Sysfs | None = None,
    writable: bool = True,
) -> UioDevice:
    """Open a device that is bound to a driver of UIO.

    Raises DeviceBusyError, DeniedError, PciError.
    """
    sysfs = sysfs or Sysfs()
    name = node(sysfs, info)
    path = f"/dev/{name}"
    cleanup = contextlib.ExitStack()
    try:
        fd = opened(path, os.O_RDWR | os.O_NONBLOCK)
        cleanup.callback(os.close, fd)
        _lock(fd, path)
        config = open_config(sysfs, info.address, cleanup, writable=writable)
        return UioDevice(info, sysfs, name, fd, config, cleanup)
    except BaseException:
        cleanup.close()
        raise


def node(sysfs: Sysfs, info: DeviceInfo) -> str:
    """The name of the node below /dev that the kernel made for the device."""
    folder = sysfs.path(info.address) / "uio"
    names = sorted(folder.glob("uio[0-9]*"))
    if names:
        return names[0].name
    cause = f"it is bound to {info.driver or 'no driver'}, not to a driver of UIO"
    remedy = f"rumphyper pci bind uio_pci_generic {info.address}"
    raise PciError(f"PCI device {info.address}", cause, remedy, errno.ENODEV)


def _lock(fd: int, path: str) -> None:
    """Keep others of us out; UIO itself lets everybody in."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = ", ".join(holders(path)) or "somebody else"
        cause = f"it is in use by {who}"
        raise DeviceBusyError(path, cause, "close it there first") from None
