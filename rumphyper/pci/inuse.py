"""Whether somebody would miss a device: before its driver is taken away."""

from __future__ import annotations

from pathlib import Path

from rumphyper.errors import HostError
from rumphyper.host.netif import Netif
from rumphyper.host.routes import routes
from rumphyper.pci import vfio_abi
from rumphyper.pci.container import is_vfio
from rumphyper.pci.errors import DeviceBusyError
from rumphyper.pci.holders import holders
from rumphyper.pci.sysfs import DeviceInfo, Sysfs
from rumphyper.pci.uio import DRIVERS, node


def refuse_in_use(info: DeviceInfo, sysfs: Sysfs) -> None:
    """Raise DeviceBusyError for a device that carries traffic or that is open.

    An interface that is up counts when a route goes through it, or when it is a
    part of a bridge, bond or the like. Those in other network namespaces are not
    seen.
    """
    thing = f"PCI device {info.address}"
    with Netif() as netif:
        for name in info.interfaces:
            use = _use(netif, name, sysfs.root)
            if use:
                cause = f"its interface {name} is up and {use}"
                remedy = f"ip link set {name} down, or force it"
                raise DeviceBusyError(thing, cause, remedy)
    path = _node(info, sysfs)
    who = holders(path) if path else []
    if who:
        cause = f"{path} is open in {', '.join(who)}"
        raise DeviceBusyError(thing, cause, "close it there first")


def _use(netif: Netif, name: str, root: Path) -> str:
    """What an interface that is up is there for, empty when for nothing."""
    try:
        if not netif.is_up(name):
            return ""
        through = routes(netif.index(name))
    except HostError:
        return ""  # it has gone
    if through:
        return f"carries the route {', '.join(through)}"
    master = root / "class/net" / name / "master"
    return f"belongs to {master.resolve().name}" if master.exists() else ""


def _node(info: DeviceInfo, sysfs: Sysfs) -> str:
    """The device node by which a process would have the device open."""
    if is_vfio(info.driver) and info.group is not None:
        return f"{vfio_abi.GROUPS}/{info.group}"
    return f"/dev/{node(sysfs, info)}" if info.driver in DRIVERS else ""
