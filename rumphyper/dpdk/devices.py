"""Devices that come and go: virtual ones by name, PCI ones by address.

DPDK lib/eal/common/eal_common_dev.c.
"""

from __future__ import annotations

import ctypes
import errno
import re

from rumphyper.dpdk.drivers import find
from rumphyper.dpdk.eal import Eal
from rumphyper.errors import HostError

GONE = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
"""What DPDK says when there is no such device any more."""


def driver_of(name: str) -> str:
    """The driver of a virtual device: ``net_tap`` of ``net_tap0``."""
    return re.sub(r"\d+$", "", name)


def port_of(eal: Eal, name: str) -> int | None:
    """The number of the port of a device, if it is there."""
    number = ctypes.c_uint16()
    found = eal.lib.rte_eth_dev_get_port_by_name(name.encode(), ctypes.byref(number))
    return number.value if found == 0 else None


MEMIF = "net_memif"
"""Its driver gives EAL's interrupt thread things to free when a port is closed. That
thread goes on while rte_eal_cleanup unmaps them, and crashes now and then, seen with
DPDK 22.11: nothing ends it or tells when it is done."""


def plug(eal: Eal, bus: str, name: str, arguments: str = "") -> int:
    """Add a device; return the number of its port.

    Raises HostError (no driver for it, an argument it does not know, it is there
    already), with what DPDK logged.
    """
    with eal.lock:
        if port_of(eal, name) is not None:
            remedy = f"open it by its port: dpdk:{port_of(eal, name)}"
            raise HostError(name, "this device is there already", remedy)
        if bus == "vdev":
            _prepare(eal, name, arguments)
        if name.startswith(MEMIF):
            eal.cleans_up = False
        eal.log.forget()
        result = eal.lib.rte_eal_hotplug_add(
            bus.encode(), name.encode(), arguments.encode()
        )
        number = port_of(eal, name) if result == 0 else None
        if number is None:
            text = f"{name},{arguments}" if arguments else name
            raise eal.failure(text, result or -19, _remedy(bus))
        return number


def _prepare(eal: Eal, name: str, arguments: str) -> None:
    """Load the driver of a virtual device, and see that it knows the arguments."""
    driver = find(eal.dpdk, driver_of(name))
    if driver is None:
        cause = f"there is no driver {driver_of(name)}"
        remedy = "net_tap0, net_af_packet0, net_ring0, net_pcap0, net_memif0, ..."
        raise HostError(name, cause, remedy)
    driver.check_arguments(name, arguments)
    ctypes.CDLL(driver.file)  # where EAL has not loaded it


def unplug(eal: Eal, bus: str, name: str) -> None:
    """Remove a device, and its port if that is still there. Raises HostError."""
    with eal.lock:
        result = eal.lib.rte_eal_hotplug_remove(bus.encode(), name.encode())
        if -result not in GONE:
            eal.check(result, name)


def _remedy(bus: str) -> str:
    if bus == "pci":
        return "bind it to a driver that DPDK can use: rumphyper pci bind vfio-pci"
    return "see the driver's page in DPDK's guide to network drivers"
