"""Devices as `rumphyper pci list` and `show` tell of them: lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from rumphyper.pci.capability import Capability
from rumphyper.pci.ids import Names
from rumphyper.pci.sysfs import BarInfo, DeviceInfo


def as_dict(info: DeviceInfo, names: Names) -> dict[str, object]:
    """A device for ``--json``: numbers as numbers, names where they are known."""
    whole: dict[str, object] = {
        "address": str(info.address),
        "vendor": info.vendor,
        "device": info.device,
        "subsystem_vendor": info.subsystem_vendor,
        "subsystem_device": info.subsystem_device,
        "class": info.class_code,
        "revision": info.revision,
        "vendor_name": names.vendor(info.vendor),
        "device_name": names.device(info.vendor, info.device),
        "class_name": names.kind(info.class_code),
        "driver": info.driver,
        "iommu_group": info.group,
        "numa_node": None if info.numa_node < 0 else info.numa_node,
        "interfaces": list(info.interfaces),
        "bars": [attrs.asdict(bar) for bar in info.bars],
    }
    return whole


def capability_dict(capability: Capability) -> dict[str, object]:
    """A capability for ``--json``; octets are in hexadecimal."""
    fields = attrs.asdict(capability)
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in fields.items()
    }


def title(info: DeviceInfo, names: Names) -> str:
    """What a device is, in words and numbers."""
    words = [names.vendor(info.vendor), names.device(info.vendor, info.device)]
    words.append(f"[{info.vendor:04x}:{info.device:04x}]")
    return " ".join(word for word in words if word)


def list_line(info: DeviceInfo, names: Names) -> str:
    """One line: address, what it is, and who has it."""
    parts = [f"{info.address} {names.kind(info.class_code)}: {title(info, names)}"]
    if info.interfaces:
        parts.append(f"if={','.join(info.interfaces)}")
    parts.append(f"drv={info.driver or ''}")
    if info.group is not None:
        parts.append(f"group={info.group}")
    return " ".join(parts)


def show_lines(
    info: DeviceInfo,
    names: Names,
    neighbours: Sequence[str],
    capabilities: Sequence[Capability] | None,
) -> list[str]:
    """All of a device; ``capabilities`` is None where they may not be seen."""
    group = "none: no IOMMU in use" if info.group is None else str(info.group)
    if neighbours:
        group += f", with {', '.join(neighbours)}"
    lines = [
        f"{info.address} {title(info, names)}",
        f"  class       {info.class_code:06x} {names.kind(info.class_code)}",
        f"  revision    {info.revision:02x}",
        f"  subsystem   {info.subsystem_vendor:04x}:{info.subsystem_device:04x}",
        f"  driver      {info.driver or 'none'}",
        f"  IOMMU group {group}",
    ]
    if info.interfaces:
        lines.append(f"  interfaces  {', '.join(info.interfaces)}")
    lines += [f"  BAR {bar.index}       {_bar(bar)}" for bar in info.bars]
    if capabilities is None:
        lines.append("  capabilities are shown to root only")
    for capability in capabilities or ():
        words = capability.describe()
        lines.append(
            f"  {capability.offset:>#5x} {capability.name}"
            + (f": {words}" if words else "")
        )
    return lines


def _bar(bar: BarInfo) -> str:
    if bar.kind == "io":
        return f"{bar.size} I/O ports at {bar.start:#x}"
    kind = "64-bit" if bar.wide else "32-bit"
    kind += " prefetchable" if bar.prefetchable else ""
    return f"{size_text(bar.size)} at {bar.start:#x}, {kind} memory"


def size_text(size: int) -> str:
    """Octets in the largest unit that divides them."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} octets"
