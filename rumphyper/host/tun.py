"""The requests of Linux's TUN/TAP driver, as data and one call each.

Facts: the kernel's include/uapi/linux/if_tun.h, drivers/net/tun.c and
Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import os
import struct

from rumphyper.host.ifreq import IFNAMSIZ, IFREQ
from rumphyper.host.ioctl import IOR, IOW, ioctl

CLONE = "/dev/net/tun"

IFF_TAP = 0x0002
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04

MAX_QUEUES = 256
"""MAX_TAP_QUEUES of the driver."""


def set_interface(fd: int, name: bytes, flags: int, thing: str) -> bytes:
    """TUNSETIFF: connect ``fd`` to a device; return the name it has got.

    The name may hold one ``%d``, for which the kernel puts the first free
    number. The device is made when there is none. Raises HostError.
    """
    request = bytearray(IFREQ)
    struct.pack_into(f"={IFNAMSIZ}sH", request, 0, name, flags)
    ioctl(fd, IOW("T", 202, 4), request, thing)
    return bytes(request[:IFNAMSIZ]).split(b"\0")[0]


def flags(fd: int, thing: str) -> int:
    """TUNGETIFF: the flags of the device that ``fd`` is connected to."""
    request = bytearray(IFREQ)
    ioctl(fd, IOR("T", 210, 4), request, thing)
    found: int = struct.unpack_from("=H", request, IFNAMSIZ)[0]
    return found


def set_persistent(fd: int, persistent: bool, thing: str) -> None:
    """TUNSETPERSIST: whether the device outlives its last descriptor."""
    ioctl(fd, IOW("T", 203, 4), int(persistent), thing)


def set_owner(fd: int, uid: int, thing: str) -> None:
    """TUNSETOWNER: the user who may attach without CAP_NET_ADMIN."""
    ioctl(fd, IOW("T", 204, 4), uid, thing)


def set_group(fd: int, gid: int, thing: str) -> None:
    """TUNSETGROUP: the group that may attach without CAP_NET_ADMIN."""
    ioctl(fd, IOW("T", 206, 4), gid, thing)


def set_offload(fd: int, offload: int, thing: str) -> None:
    """TUNSETOFFLOAD: what of TUN_F_* the host may leave to this end.

    For devices with virtio-net headers (IFF_VNET_HDR).
    """
    ioctl(fd, IOW("T", 208, 4), offload, thing)


def open_clone() -> int:
    """Open /dev/net/tun, not blocking. Raises OSError."""
    return os.open(CLONE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
