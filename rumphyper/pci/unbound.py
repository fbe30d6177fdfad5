"""Devices by sysfs alone: to look at, or to try registers of, without a driver.

No interrupt and no DMA: with no driver there is nobody to switch bus mastering
off after a crash, so it is never switched on here.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from rumphyper.pci.bar import Bar
from rumphyper.pci.config import Config
from rumphyper.pci.device import Device
from rumphyper.pci.errors import DeviceBusyError, PciError, ReadOnlyError
from rumphyper.pci.irq import Interrupt, Kind, unsupported
from rumphyper.pci.resource import open_bar, open_config, reset, write
from rumphyper.pci.sysfs import BarInfo, DeviceInfo, Sysfs


class SysfsDevice(Device):
    """A device by its files in sysfs, whether or not a driver is bound."""

    driver = "sysfs"

    def __init__(
        self,
        info: DeviceInfo,
        sysfs: Sysfs,
        config: Config,
        cleanup: contextlib.ExitStack,
    ) -> None:
        self._sysfs = sysfs
        super().__init__(info, config, cleanup)

    def _open_bar(self, info: BarInfo) -> Bar:
        return open_bar(self._sysfs, self.address, info, writable=self.config.writable)

    @property
    def bus_master(self) -> bool:
        return super().bus_master

    @bus_master.setter
    def bus_master(self, on: bool) -> None:
        cause = "without a driver nothing would switch it off after a crash"
        remedy = f"rumphyper pci bind vfio-pci {self.address}"
        raise PciError(f"{self.thing}: bus mastering", cause, remedy)

    def reset(self) -> None:
        self._check_open()
        if not self.config.writable:
            remedy = "open the device with writable=True"
            raise ReadOnlyError(self.thing, "open for reading only", remedy)
        reset(self._sysfs, self.address)

    def interrupt_counts(self) -> dict[str, int]:
        return {}

    def interrupts(self, kind: Kind, count: int = 1) -> tuple[Interrupt, ...]:
        raise unsupported(f"{self.thing} by sysfs", kind, {})

    def disable_interrupts(self) -> None:
        pass

    def _stop(self) -> None:
        """Whose the device is, if anybody's, is not for us to stop."""


def open_sysfs(
    info: DeviceInfo,
    *,
    sysfs: Sysfs | None = None,
    writable: bool = False,
    force: bool = False,
) -> SysfsDevice:
    """Open a device through sysfs: for reading only unless ``writable``.

    A device without a driver is enabled meanwhile when it is writable. One that
    has a driver may be written to only with ``force``. Raises DeviceBusyError,
    DeniedError, PciError.
    """
    sysfs = sysfs or Sysfs()
    if writable and info.driver is not None and not force:
        cause = f"its driver {info.driver} is using it"
        remedy = f"rumphyper pci unbind {info.address}, or force it"
        raise DeviceBusyError(f"PCI device {info.address}", cause, remedy)
    cleanup = contextlib.ExitStack()
    try:
        if writable and info.driver is None:
            enable = sysfs.path(info.address) / "enable"
            write(enable, "1")
            cleanup.callback(_disable, enable)
        config = open_config(sysfs, info.address, cleanup, writable=writable)
        return SysfsDevice(info, sysfs, config, cleanup)
    except BaseException:
        cleanup.close()
        raise


def _disable(enable: Path) -> None:
    with contextlib.suppress(PciError):  # unplugged
        write(enable, "0")
