"""PCI devices as sysfs shows them: enumeration, without touching a device.

Facts: the kernel's Documentation/ABI/testing/sysfs-bus-pci and
Documentation/PCI/sysfs-pci.rst; flags of ``resource`` from include/linux/ioport.h.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import attrs

from rumphyper.pci.address import Address
from rumphyper.pci.errors import (
    DeviceNotFoundError,
    PciAddressError,
    PciError,
    explained,
)

ROOT = Path("/sys")

_IO, _MEMORY, _PREFETCH, _WIDE = 0x100, 0x200, 0x2000, 0x100000
_BARS = 6

BarKind = Literal["memory", "io"]


@attrs.frozen
class BarInfo:
    """A base address register: where its range is, as the processor sees it.

    ``start`` and ``size`` are in octets (ports for ``io``). ``wide`` is a
    64-bit BAR, which takes up the next index too.
    """

    index: int
    kind: BarKind
    start: int
    size: int
    wide: bool = False
    prefetchable: bool = False


@attrs.frozen
class DeviceInfo:
    """A device: its numbers, who drives it, and its BARs that are implemented.

    ``class_code`` has 24 bits: class, subclass, programming interface. Names are
    in `rumphyper.pci.ids`. ``group`` is the IOMMU group, None without IOMMU.
    """

    address: Address
    vendor: int
    device: int
    subsystem_vendor: int
    subsystem_device: int
    class_code: int
    revision: int
    driver: str | None
    group: int | None
    numa_node: int
    bars: tuple[BarInfo, ...]
    interfaces: tuple[str, ...]
    """Network interfaces that its kernel driver has made, in our namespace."""

    def bar(self, index: int) -> BarInfo | None:
        """The BAR of this index, None when it is not implemented."""
        return next((bar for bar in self.bars if bar.index == index), None)


@attrs.frozen
class Sysfs:
    """The PCI part of sysfs below ``root`` (a folder elsewhere for tests)."""

    root: Path = ROOT

    def path(self, address: Address) -> Path:
        """The folder of a device, whether or not there is one."""
        return self.root / "bus/pci/devices" / str(address)

    def drivers(self) -> list[str]:
        """The drivers of PCI devices that are loaded."""
        return _names(self.root / "bus/pci/drivers")

    def addresses(self) -> list[Address]:
        """Every device's address, in the order of the bus."""
        try:
            names = os.listdir(self.root / "bus/pci/devices")
        except FileNotFoundError:
            return []  # a host without PCI
        except OSError as error:
            raise explained(error, str(self.root / "bus/pci/devices")) from None
        return sorted(Address.parse(name) for name in names)

    def devices(self) -> list[DeviceInfo]:
        """Every device, in the order of the bus."""
        found = []
        for address in self.addresses():
            try:
                found.append(self.info(address))
            except DeviceNotFoundError:
                pass  # unplugged while we looked
        return found

    def info(self, address: Address) -> DeviceInfo:
        """What sysfs says of a device. Raises DeviceNotFoundError, PciError."""
        path = self.path(address)
        group = self.link(address, "iommu_group")
        node = self.text(address, "numa_node", "-1")
        return DeviceInfo(
            address,
            vendor=self._number(address, "vendor"),
            device=self._number(address, "device"),
            subsystem_vendor=self._number(address, "subsystem_vendor", "0"),
            subsystem_device=self._number(address, "subsystem_device", "0"),
            class_code=self._number(address, "class"),
            revision=self._number(address, "revision", "0"),
            driver=self.driver(address),
            group=int(group) if group is not None and group.isdecimal() else None,
            numa_node=int(node) if node.lstrip("-").isdecimal() else -1,
            bars=_bars(self.text(address, "resource", "")),
            interfaces=tuple(_names(path / "net")),
        )

    def driver(self, address: Address) -> str | None:
        """The driver that is bound to a device."""
        return self.link(address, "driver")

    def link(self, address: Address, name: str) -> str | None:
        """The last part of what a link of a device's folder leads to."""
        try:
            return os.path.basename(os.readlink(self.path(address) / name))
        except OSError:
            return None

    def text(self, address: Address, name: str, default: str | None = None) -> str:
        """What a file of a device's folder says, stripped.

        ``default`` stands for a file that is not there; without one a missing
        file means a missing device. Raises DeviceNotFoundError, PciError.
        """
        path = self.path(address) / name
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            if default is not None and self.path(address).is_dir():
                return default
            remedy = "see `rumphyper pci list`"
            thing = f"PCI device {address}"
            raise DeviceNotFoundError(thing, "there is none", remedy) from None
        except OSError as error:
            raise explained(error, str(path)) from None

    def group_of(self, group: int) -> list[Address]:
        """The devices of an IOMMU group."""
        names = _names(self.root / f"kernel/iommu_groups/{group}/devices")
        return sorted(Address.parse(name) for name in names)

    def group_type(self, group: int) -> str:
        """How the IOMMU treats a group: ``DMA``, ``DMA-FQ``, ``identity`` ...

        Empty where the kernel (before 5.11) does not say.
        """
        path = self.root / f"kernel/iommu_groups/{group}/type"
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def resolve(self, text: str) -> Address:
        """The device of an address, or of a network interface's name.

        Raises PciAddressError, DeviceNotFoundError.
        """
        try:
            address = Address.parse(text)
        except PciAddressError as error:
            link = self.root / "class/net" / text / "device"
            try:
                name = os.path.basename(os.readlink(link))
                return Address.parse(name)
            except (OSError, ValueError, PciAddressError):
                cause = "neither a PCI address nor the interface of a PCI device"
                raise PciAddressError(f"{text!r}", cause, error.remedy) from None
        self.text(address, "vendor")  # or it is not there
        return address

    def _number(self, address: Address, name: str, default: str | None = None) -> int:
        text = self.text(address, name, default)
        try:
            return int(text, 0)
        except ValueError:
            thing = str(self.path(address) / name)
            raise PciError(thing, f"{text!r} is no number") from None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _bars(resource: str) -> tuple[BarInfo, ...]:
    """The BARs of the file ``resource``: first, last and flags on each line."""
    bars = []
    for index, line in enumerate(resource.splitlines()[:_BARS]):
        words = line.split()
        if len(words) != 3:
            continue
        first, last, flags = (int(word, 16) for word in words)
        if not flags & (_IO | _MEMORY) or last < first or not last:
            continue  # not implemented, or the size of a BAR that is 0
        bars.append(
            BarInfo(
                index,
                "io" if flags & _IO else "memory",
                first,
                last - first + 1,
                bool(flags & _WIDE),
                bool(flags & _PREFETCH),
            )
        )
    return tuple(bars)
