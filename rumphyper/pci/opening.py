"""Opening a device by whichever driver it is bound to."""

from __future__ import annotations

import contextlib

from rumphyper.pci.address import Address
from rumphyper.pci.binding import bind as bind_driver
from rumphyper.pci.container import Container, is_vfio
from rumphyper.pci.device import Device, Driver
from rumphyper.pci.errors import PciError
from rumphyper.pci.sysfs import DeviceInfo, Sysfs
from rumphyper.pci.uio import DRIVERS, open_uio
from rumphyper.pci.unbound import open_sysfs
from rumphyper.pci.vfio import open_vfio


def open_device(
    address: Address | str,
    *,
    driver: Driver | None = None,
    writable: bool | None = None,
    bind: str | None = None,
    restore: bool = False,
    force: bool = False,
    container: Container | None = None,
    noiommu: bool = False,
    sysfs: Sysfs | None = None,
) -> Device:
    """Open a device, given by address or by its interface's name.

    ``driver`` is ``vfio``, ``uio`` or ``sysfs``; by default what the device is
    bound to. ``writable`` is so by default unless a driver of the kernel's own is
    using the device. ``bind`` first binds a kernel driver such as ``vfio-pci``;
    with ``restore`` closing the device gives it back to the driver that it had.
    ``force`` binds although the device is in use, or writes beside its driver.

    ``container`` is vfio's: devices of one container share DMA memory.
    ``noiommu`` asks for vfio's mode without an IOMMU, which the host's
    administrator must have allowed. Raises the errors of `rumphyper.pci.errors`.
    """
    sysfs = sysfs or Sysfs()
    place = sysfs.resolve(address) if isinstance(address, str) else address
    with contextlib.ExitStack() as stack:
        binding = None
        if bind is not None:
            binding = bind_driver(place, bind, force=force, sysfs=sysfs)
            stack.callback(binding.restore)  # when it does not open
        device = _open(
            sysfs.info(place), driver, sysfs, container, writable, force, noiommu
        )
        stack.pop_all()
    if binding is not None and restore:
        device.after_close(binding.restore)
    return device


def _open(
    info: DeviceInfo,
    driver: Driver | None,
    sysfs: Sysfs,
    container: Container | None,
    writable: bool | None,
    force: bool,
    noiommu: bool,
) -> Device:
    driver = driver or _driver(info)
    if writable is None:
        writable = driver != "sysfs" or info.driver is None or force
    if driver == "vfio":
        return open_vfio(info, container=container, noiommu=noiommu, writable=writable)
    if container is not None or noiommu:
        cause = f"it is opened by {driver}, which has no container"
        remedy = f"rumphyper pci bind vfio-pci {info.address}"
        raise PciError(f"PCI device {info.address}", cause, remedy)
    if driver == "uio":
        return open_uio(info, sysfs=sysfs, writable=writable)
    return open_sysfs(info, sysfs=sysfs, writable=writable, force=force)


def _driver(info: DeviceInfo) -> Driver:
    if is_vfio(info.driver):
        return "vfio"
    return "uio" if info.driver in DRIVERS else "sysfs"
