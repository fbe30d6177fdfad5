"""Interfaces with an MTU that their driver does not know.

virt(4) calls itself plain Ethernet, so SIOCSIFMTU takes at most 1500 octets
(NetBSD sys/net/if_ethersubr.c, ether_ioctl), and longer frames are thrown away
on receipt (ether_input). Nothing in the driver depends on that: it copies what
it gets into a chain of mbufs. So the general part of the ioctl is called past
the driver's. Facts: sys/net/if.c (ifunit, ifioctl_common).
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from rumphyper.kernel import ioctls

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

ENETRESET = 52
"""The answer that it was done."""

ENXIO = 6


def set_mtu(kernel: Kernel, name: str, mtu: int) -> None:
    """Set the MTU of the interface ``name`` whatever its driver says.

    Raises KernelError when the kernel has no such interface or refuses.
    """
    find = kernel.function("rumpns_ifunit", ctypes.c_void_p, ctypes.c_char_p)
    common = kernel.function(
        "rumpns_ifioctl_common",
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
    )
    schedule = kernel.function("rump_schedule", None)
    unschedule = kernel.function("rump_unschedule", None)
    argument = ioctls.ifreq(name, mtu.to_bytes(4, sys.byteorder))
    pointer = (ctypes.c_char * len(argument)).from_buffer(argument)

    def change() -> int:
        schedule()
        try:
            interface = find(name.encode())
            if not interface:
                return ENXIO
            error = common(interface, ioctls.SIOCSIFMTU, ctypes.addressof(pointer))
            return 0 if error == ENETRESET else int(error)
        finally:
            unschedule()

    error = kernel.invoke(change)
    if error:
        raise kernel.error(error, f"MTU {mtu} of {name}")
