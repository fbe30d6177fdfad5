"""A PCI device before DPDK gets it: is it there, and bound to a driver for it?"""

from __future__ import annotations

from rumphyper.errors import HostError
from rumphyper.pci.address import Address
from rumphyper.pci.container import is_vfio
from rumphyper.pci.sysfs import Sysfs
from rumphyper.pci.uio import DRIVERS

BIFURCATED = ("mlx4_core", "mlx5_core", "mana")
"""Drivers of the kernel that share their devices with DPDK."""


def check_pci(name: str, sysfs: Sysfs | None = None) -> None:
    """Raise HostError unless DPDK can have the device at this address."""
    address = Address.parse(name)
    sysfs = sysfs or Sysfs()
    known = {info.address: info for info in sysfs.devices()}
    info = known.get(address)
    if info is None:
        cards = [str(a) for a, i in known.items() if i.class_code >> 16 == 2]
        cause = "there is no such PCI device"
        remedy = f"network cards: {', '.join(cards) or 'none'}"
        raise HostError(f"dpdk:{name}", cause, remedy)
    driver = info.driver
    if driver is None or not (
        is_vfio(driver) or driver in DRIVERS or driver in BIFURCATED
    ):
        has = f"the driver {driver} has it" if driver else "no driver has it"
        remedy = f"rumphyper pci bind vfio-pci {name}"
        raise HostError(f"dpdk:{name}", f"{has}, and DPDK needs another", remedy)
