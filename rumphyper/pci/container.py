"""vfio's containers and groups: whose devices share one view of memory.

The IOMMU tells groups of devices apart, not devices; a container is a set of
groups to which the same memory is mapped. Facts: the kernel's
Documentation/driver-api/vfio.rst.
"""

from __future__ import annotations

import errno
import os
import struct
import threading

from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.pci import vfio_abi as abi
from rumphyper.pci.dma import DmaSource
from rumphyper.pci.errors import (
    DeviceBusyError,
    GroupError,
    NoIommuError,
    PciError,
    explained,
    opened,
)
from rumphyper.pci.holders import holders
from rumphyper.pci.iommu import IommuMemory
from rumphyper.pci.physical import PhysicalMemory
from rumphyper.pci.sysfs import Sysfs

HARMLESS = ("pci-stub", "pcieport")
"""Drivers that vfio bears in a group besides its own (vfio_dev_viable)."""

UNSAFE = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


class Container:
    """A container of vfio, empty until the first `attach`.

    Pass one to `open_device` for several devices to share DMA memory. With
    ``noiommu`` the devices reach all of the host's memory, and memory is as for
    UIO; the host's administrator must have allowed that. Raises PciError.
    """

    def __init__(self, *, noiommu: bool = False, sysfs: Sysfs | None = None) -> None:
        self.noiommu = noiommu
        self._sysfs = sysfs or Sysfs()
        self._lock = threading.Lock()
        self._groups: dict[int, tuple[int, int]] = {}
        """By number: the descriptor, and how many devices use it."""
        self._memory: DmaSource | None = None
        self._fd = _open_container()
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def memory(self) -> DmaSource:
        """Where the devices' DMA memory comes from."""
        if self._memory is None:
            raise PciError("vfio container", "no group is attached to it")
        return self._memory

    def attach(self, group: int) -> int:
        """Add an IOMMU group; return its descriptor, which stays ours.

        Raises GroupError, DeviceBusyError, DeniedError, PciError.
        """
        with self._lock:
            fd, users = self._groups.get(group, (-1, 0))
            if not users:
                fd = self._open_group(group)
                try:
                    self._join(fd, group)
                except BaseException:
                    os.close(fd)
                    raise
            self._groups[group] = (fd, users + 1)
            return fd

    def detach(self, group: int) -> None:
        """Let a group go that was attached, with the last device of it.

        With the last group the kernel ends the IOMMU's mappings.
        """
        with self._lock:
            fd, users = self._groups[group]
            if users > 1:
                self._groups[group] = (fd, users - 1)
                return
            del self._groups[group]
            try:
                if not self._groups:
                    self._forget()
            finally:
                os.close(fd)

    def close(self) -> None:
        """Unmap all memory and let go of the container. Idempotent.

        Close its devices first: what is still open keeps it alive.
        """
        try:
            self._forget()
        finally:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _forget(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def _check(self) -> None:
        if ioctl(self._fd, abi.GET_API_VERSION) != abi.API_VERSION:
            raise PciError(abi.CONTAINER, "its version is not 0", "update rumphyper")
        if self.noiommu:
            if not ioctl(self._fd, abi.CHECK_EXTENSION, abi.NOIOMMU_IOMMU):
                cause = "this kernel does not offer, or does not allow, no-iommu mode"
                raise NoIommuError(abi.CONTAINER, cause, f"see {UNSAFE}")
        elif not ioctl(self._fd, abi.CHECK_EXTENSION, abi.TYPE1V2_IOMMU):
            cause = "no IOMMU of type 1 is offered"
            remedy = "load the module: modprobe vfio_iommu_type1"
            raise NoIommuError(abi.CONTAINER, cause, remedy)

    def _open_group(self, group: int) -> int:
        name = f"noiommu-{group}" if self.noiommu else str(group)
        path = f"{abi.GROUPS}/{name}"
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENOENT:
                cause = "no device of this IOMMU group is bound to vfio-pci"
                remedy = "rumphyper pci bind vfio-pci ADDRESS"
                raise PciError(path, cause, remedy, error.errno) from None
            if error.errno == errno.EBUSY:
                who = ", ".join(holders(path)) or "somebody else"
                cause = f"the IOMMU group is in use by {who}"
                remedy = "close the device there first"
                raise DeviceBusyError(path, cause, remedy, error.errno) from None
            raise explained(error, path) from None

    def _join(self, fd: int, group: int) -> None:
        status = bytearray(abi.GROUP_STATUS.pack(abi.GROUP_STATUS.size, 0))
        ioctl(fd, abi.GROUP_GET_STATUS, status, f"IOMMU group {group}")
        if not abi.GROUP_STATUS.unpack(status)[1] & abi.GROUP_VIABLE:
            raise self._not_viable(group)
        ours = bytearray(struct.pack("=i", self._fd))
        try:
            ioctl(fd, abi.GROUP_SET_CONTAINER, ours, f"IOMMU group {group}")
            if self._memory is None:
                self._memory = self._first()
            elif isinstance(self._memory, IommuMemory):
                self._memory.refresh()
        except HostError as error:
            raise explained(error, f"IOMMU group {group}") from None

    def _first(self) -> DmaSource:
        """Choose the kind of IOMMU: possible once a group is there."""
        kind = abi.NOIOMMU_IOMMU if self.noiommu else abi.TYPE1V2_IOMMU
        try:
            ioctl(self._fd, abi.SET_IOMMU, kind, "vfio container")
        except HostError as error:
            if error.errno != errno.EPERM:
                raise
            cause = "the host cannot keep interrupts of devices apart"
            remedy = (
                "switch interrupt remapping on in the firmware, or accept that "
                "knowingly: modprobe vfio_iommu_type1 allow_unsafe_interrupts=1"
            )
            raise NoIommuError(error.thing, cause, remedy, error.errno) from None
        return PhysicalMemory() if self.noiommu else IommuMemory(self._fd)

    def _not_viable(self, group: int) -> GroupError:
        others = []
        for address in self._sysfs.group_of(group):
            driver = self._sysfs.driver(address)
            if driver and driver not in HARMLESS and not is_vfio(driver):
                others.append(f"{address} by {driver}")
        cause = f"other devices of it are bound: {', '.join(others)}"
        remedy = "bind those to vfio-pci too, or unbind them"
        return GroupError(f"IOMMU group {group}", cause, remedy, errno.EBUSY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_vfio(driver: str | None) -> bool:
    """Whether a driver of PCI devices is vfio's, or built on it (mlx5-vfio-pci)."""
    return driver is not None and driver.replace("_", "-").endswith("vfio-pci")


def _open_container() -> int:
    if not os.path.exists(abi.CONTAINER):
        raise PciError(
            abi.CONTAINER,
            "it does not exist",
            "load the module: modprobe vfio-pci; in a container, pass it through",
            errno.ENOENT,
        )
    return opened(abi.CONTAINER, os.O_RDWR)
