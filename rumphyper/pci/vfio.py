"""Devices bound to vfio-pci: all of a device, safe behind an IOMMU.

The kernel switches bus mastering off and resets the device, where it can, when
the last descriptor closes: also after a crash or kill -9. Facts: the kernel's
include/uapi/linux/vfio.h, drivers/vfio/pci/vfio_pci_core.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Sequence

import attrs

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.pci import vfio_abi as abi
from rumphyper.pci.bar import Bar, FileBar, mapped
from rumphyper.pci.config import Config
from rumphyper.pci.container import Container
from rumphyper.pci.device import Device
from rumphyper.pci.dma import DmaSource
from rumphyper.pci.errors import (
    DeviceBusyError,
    InterruptError,
    NoIommuError,
    PciError,
    explained,
)
from rumphyper.pci.irq import EventInterrupt, Interrupt, Kind, unsupported
from rumphyper.pci.sysfs import BarInfo, DeviceInfo

_ROOM = 4096


@attrs.frozen
class Region:
    """A part of the device's file: a BAR, the ROM, configuration space."""

    size: int
    offset: int
    mappable: bool
    """Whether all of it may be mapped."""


class VfioDevice(Device):
    """A device by vfio, in ``container``."""

    driver = "vfio"

    def __init__(
        self,
        info: DeviceInfo,
        fd: int,
        container: Container,
        cleanup: contextlib.ExitStack,
        *,
        writable: bool,
    ) -> None:
        self._fd = fd
        self._container = container
        self._interrupts: dict[Kind, tuple[Interrupt, ...]] = {}
        thing = f"PCI device {info.address}"
        region = _region(fd, abi.REGION_CONFIG, thing)
        config = Config(fd, region.offset, region.size, thing, writable=writable)
        super().__init__(info, config, cleanup)

    def _open_bar(self, info: BarInfo) -> Bar:
        thing = f"{self.thing}: BAR {info.index}"
        region = _region(self._fd, info.index, thing)
        place = (self._fd, region.size, region.offset)
        if region.mappable:
            return mapped(thing, info.index, *place, writable=self.config.writable)
        return FileBar(thing, info.index, info.kind, *place)

    def reset(self) -> None:
        self._check_open()
        try:
            ioctl(self._fd, abi.DEVICE_RESET, 0, self.thing)
        except HostError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise explained(error, self.thing) from None
            cause = "the device has no way to be reset alone"
            raise PciError(self.thing, cause, "", error.errno) from None

    def _dma(self) -> DmaSource:
        self._check_open()
        return self._container.memory

    def interrupt_counts(self) -> dict[str, int]:
        self._check_open()
        counts = {}
        for kind, index in abi.IRQ_INDEXES.items():
            request = bytearray(abi.IRQ_INFO.pack(abi.IRQ_INFO.size, 0, index, 0))
            try:
                ioctl(self._fd, abi.DEVICE_GET_IRQ_INFO, request, self.thing)
            except HostError as error:
                if error.errno != errno.EINVAL:
                    raise explained(error, self.thing) from None
            counts[kind] = abi.IRQ_INFO.unpack(request)[3]
        return counts

    def interrupts(self, kind: Kind, count: int = 1) -> tuple[Interrupt, ...]:
        has = self.interrupt_counts()
        if not has.get(kind):
            raise unsupported(self.thing, kind, has)
        if not 1 <= count <= has[kind]:
            cause = f"{count} {kind} interrupts are not in 1 to {has[kind]}"
            raise InterruptError(self.thing, cause, f"ask for at most {has[kind]}")
        for other in self._interrupts:
            if other == kind or {other, kind} <= {"intx", "msi", "msix"}:
                cause = f"it delivers {other} interrupts already"
                raise InterruptError(self.thing, cause, "disable_interrupts() first")
        made: list[Interrupt] = []
        try:
            for vector in range(count):
                made.append(self._interrupt(kind, vector))
            self._deliver(kind, made)
        except BaseException:
            for interrupt in made:
                interrupt.close()
            raise
        self._interrupts[kind] = tuple(made)
        if kind == "intx":
            # A line that is raised already is not always seen by the interrupt
            # controller, but unmasking looks at the device itself.
            self._set_irqs(kind, abi.IRQ_DATA_NONE | abi.IRQ_MASK, 1)
            self.unmask()
        return self._interrupts[kind]

    def disable_interrupts(self) -> None:
        with contextlib.ExitStack() as stack:  # all of them, if one fails
            for kind, made in self._interrupts.items():
                for interrupt in made:
                    stack.callback(interrupt.close)
                flags = abi.IRQ_DATA_NONE | abi.IRQ_TRIGGER
                stack.callback(self._set_irqs, kind, flags, 0)
            self._interrupts = {}

    def unmask(self) -> None:
        """Open the interrupt line again."""
        self._set_irqs("intx", abi.IRQ_DATA_NONE | abi.IRQ_UNMASK, 1)

    def _interrupt(self, kind: Kind, vector: int) -> Interrupt:
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        thing = f"{self.thing}: {kind} interrupt {vector}"
        if kind == "intx":
            return LineInterrupt(thing, kind, vector, fd, self)
        return EventInterrupt(thing, kind, vector, fd)

    def _deliver(self, kind: Kind, made: Sequence[Interrupt]) -> None:
        fds = struct.pack(f"={len(made)}i", *(each.fileno() for each in made))
        flags = abi.IRQ_DATA_EVENTFD | abi.IRQ_TRIGGER
        granted = self._set_irqs(kind, flags, len(made), fds)
        if granted > 0:  # what the host has vectors for, and nothing was set
            cause = f"the host grants {granted} {kind} interrupts, not {len(made)}"
            raise InterruptError(self.thing, cause, f"ask for at most {granted}")

    def _set_irqs(self, kind: Kind, flags: int, count: int, data: bytes = b"") -> int:
        self._check_open()
        size = abi.IRQ_SET.size + len(data)
        index = abi.IRQ_INDEXES[kind]
        request = bytearray(abi.IRQ_SET.pack(size, flags, index, 0, count) + data)
        try:
            return ioctl(self._fd, abi.DEVICE_SET_IRQS, request, self.thing)
        except HostError as error:
            raise explained(error, f"{self.thing}: {kind} interrupts") from None


class LineInterrupt(EventInterrupt):
    """INTx: the kernel masks it whenever it fires."""

    def __init__(
        self, thing: str, kind: Kind, vector: int, fd: int, device: VfioDevice
    ) -> None:
        super().__init__(thing, kind, vector, fd)
        self._device = device

    def unmask(self) -> None:
        self.fileno()
        self._device.unmask()


def open_vfio(
    info: DeviceInfo,
    *,
    container: Container | None = None,
    noiommu: bool = False,
    writable: bool = True,
) -> VfioDevice:
    """Open a device that is bound to vfio-pci, in a container of its own or yours.

    Raises NoIommuError, GroupError, DeviceBusyError, DeniedError, PciError.
    """
    thing = f"PCI device {info.address}"
    if info.group is None:
        cause = "the host has no IOMMU in use for it"
        remedy = "switch it on (firmware; kernel argument intel_iommu=on), or use UIO"
        raise NoIommuError(thing, cause, remedy)
    cleanup = contextlib.ExitStack()
    try:
        if container is None:
            container = cleanup.enter_context(Container(noiommu=noiommu))
        group = container.attach(info.group)
        cleanup.callback(container.detach, info.group)
        fd = _device_fd(group, info, thing)
        cleanup.callback(os.close, fd)
        return VfioDevice(info, fd, container, cleanup, writable=writable)
    except BaseException:
        cleanup.close()
        raise


def _device_fd(group: int, info: DeviceInfo, thing: str) -> int:
    name = bytearray(str(info.address).encode() + b"\0")
    try:
        return ioctl(group, abi.GROUP_GET_DEVICE_FD, name, thing)
    except HostError as error:
        if error.errno == errno.ENODEV:
            cause = f"it is bound to {info.driver or 'no driver'}, not to vfio-pci"
            remedy = f"rumphyper pci bind vfio-pci {info.address}"
            raise PciError(thing, cause, remedy, error.errno) from None
        if error.errno == errno.EBUSY:
            remedy = "close it there first"
            raise DeviceBusyError(thing, error.cause, remedy, error.errno) from None
        raise explained(error, thing) from None


def _region(fd: int, index: int, thing: str) -> Region:
    """Ask for a region. Raises PciError."""
    request = bytearray(_ROOM)
    abi.REGION_INFO.pack_into(request, 0, _ROOM, 0, index, 0, 0, 0)
    try:
        ioctl(fd, abi.DEVICE_GET_REGION_INFO, request, thing)
    except HostError as error:
        raise explained(error, thing) from None
    answer = abi.REGION_INFO.unpack_from(request)
    _, flags, _, first, size, offset = answer
    mappable = bool(flags & abi.REGION_MMAP)
    if flags & abi.REGION_CAPS:
        for number, _ in abi.info_capabilities(bytes(request), first):
            if number == abi.REGION_CAP_SPARSE_MMAP:
                mappable = False  # parts of it only: a kernel before 4.16
    return Region(size, offset, mappable)
