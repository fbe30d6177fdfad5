"""Giving a device to another driver, and back.

By driver_override, which names one driver for one device and so never catches
another device of the same kind. Facts: the kernel's
Documentation/ABI/testing/sysfs-bus-pci, drivers/base/bus.c.
"""

from __future__ import annotations

import attrs

from rumphyper.errors import RumphyperError
from rumphyper.pci.address import Address
from rumphyper.pci.container import UNSAFE, is_vfio
from rumphyper.pci.errors import BindError, NoIommuError, PciError
from rumphyper.pci.inuse import refuse_in_use
from rumphyper.pci.resource import write
from rumphyper.pci.sysfs import DeviceInfo, Sysfs

AUTO = "auto"
"""Stands for the driver that the kernel would choose by itself."""


@attrs.frozen
class Binding:
    """A device whose driver was changed from ``former`` (None: it had none)."""

    address: Address
    driver: str | None
    former: str | None
    sysfs: Sysfs = attrs.field(factory=Sysfs)

    def restore(self) -> None:
        """Give the device back to the driver that it had, if it is still there.

        Raises BindError, DeniedError.
        """
        if self.sysfs.driver(self.address) == self.former:
            return
        try:
            _change(self.sysfs, self.address, self.former)
        except PciError:
            if self.sysfs.path(self.address).is_dir():
                raise


def bind(
    address: Address, driver: str, *, force: bool = False, sysfs: Sysfs | None = None
) -> Binding:
    """Bind a driver that is loaded; `AUTO` lets the kernel choose.

    When that fails the device has its former driver again. Raises
    DeviceBusyError (not with ``force``) when it is in use, NoIommuError when
    vfio-pci could not work, DeniedError, BindError.
    """
    sysfs = sysfs or Sysfs()
    info = sysfs.info(address)
    if info.driver == driver:
        return Binding(address, driver, driver, sysfs)
    if driver != AUTO:
        _check_driver(info, driver, sysfs)
    if not force:
        refuse_in_use(info, sysfs)
    _change_or_roll_back(sysfs, address, driver, info.driver)
    return Binding(address, sysfs.driver(address), info.driver, sysfs)


def unbind(
    address: Address, *, force: bool = False, sysfs: Sysfs | None = None
) -> Binding:
    """Take the driver away from a device. Raises as `bind` does."""
    sysfs = sysfs or Sysfs()
    info = sysfs.info(address)
    if not force:
        refuse_in_use(info, sysfs)
    _change_or_roll_back(sysfs, address, None, info.driver)
    return Binding(address, None, info.driver, sysfs)


def _check_driver(info: DeviceInfo, driver: str, sysfs: Sysfs) -> None:
    if driver not in sysfs.drivers():
        cause = "no driver of this name is loaded"
        raise BindError(f"driver {driver!r}", cause, f"modprobe {driver}")
    if is_vfio(driver) and info.group is None and not _unsafe(sysfs):
        cause = "vfio-pci needs an IOMMU, and the host has none in use for it"
        remedy = (
            "switch it on (firmware; kernel argument intel_iommu=on), or bind "
            "uio_pci_generic"
        )
        raise NoIommuError(f"PCI device {info.address}", cause, remedy)


def _unsafe(sysfs: Sysfs) -> bool:
    """Whether the administrator has allowed vfio to work without an IOMMU."""
    try:
        text = (sysfs.root / UNSAFE.removeprefix("/sys/")).read_text()
    except OSError:
        return False
    return text.strip() in ("Y", "1")


def _change_or_roll_back(
    sysfs: Sysfs, address: Address, driver: str | None, former: str | None
) -> None:
    try:
        _change(sysfs, address, driver)
    except RumphyperError as error:
        if sysfs.driver(address) == former:
            raise
        try:
            _change(sysfs, address, former)
        except RumphyperError as again:
            cause = f"{error}; and its former driver is not back: {again.cause}"
            raise BindError(f"PCI device {address}", cause, again.remedy) from None
        raise


def _change(sysfs: Sysfs, address: Address, driver: str | None) -> None:
    """Unbind what is bound, then bind ``driver`` (None: nothing)."""
    path = sysfs.path(address)
    override = path / "driver_override"
    before = sysfs.text(address, "driver_override", "")
    wanted = "" if driver in (None, AUTO) else str(driver)
    write(override, f"{wanted}\n")
    try:
        if sysfs.driver(address) is not None:
            write(path / "driver/unbind", str(address))
        if driver is not None:
            _probe(sysfs, address, driver)
    finally:
        if driver != AUTO:
            left = "" if before == "(null)" else before
            write(override, f"{left}\n")


def _probe(sysfs: Sysfs, address: Address, driver: str) -> None:
    refused = ""
    try:
        write(sysfs.root / "bus/pci/drivers_probe", str(address))
    except RumphyperError as error:  # the driver's own errno, most of the time
        refused = f" ({error.cause})"
    found = sysfs.driver(address)
    if found is None or driver not in (found, AUTO):
        cause = f"{driver} does not take it{refused}"
        if driver == AUTO:
            cause = f"no loaded driver takes it{refused}"
        remedy = "see `dmesg` for what the driver says"
        raise BindError(f"PCI device {address}", cause, remedy)
