"""The network interfaces of the mini kernel: virt0, virt1 and so on.

What the host gets as the interface (softc) is kernel memory that holds name,
address, flags and counters. Facts: sys/rump/net/lib/libvirtif/if_virt.c.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

import attrs

from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.net.mac import format_mac, is_group
from rumphyper.net.stack import Stack

RUNNING = 0x40
"""IFF_RUNNING: frames are taken."""

Address = IPv4Interface | IPv6Interface


class Softc(ctypes.Structure):
    """struct virtif_sc: what the pointer given to the host points to."""

    _fields_ = [
        ("name", ctypes.c_char * 16),
        ("mac", ctypes.c_uint8 * 6),
        ("flags", ctypes.c_uint16),
        ("unit", ctypes.c_uint32),
        ("received", ctypes.c_uint64),
        ("received_bytes", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("sent_bytes", ctypes.c_uint64),
        ("dropped", ctypes.c_uint64),
        ("ignored", ctypes.c_uint64),
    ]


@attrs.frozen
class InterfaceCounters:
    """Frames and octets of an interface.

    ``dropped`` had no room or could not be, ``ignored`` were for others.
    """

    received: int
    received_bytes: int
    sent: int
    sent_bytes: int
    dropped: int
    ignored: int


class Interface:
    """One interface; made by `MiniKernel.create_interface`."""

    def __init__(self, name: str, linkstr: str, softc: int) -> None:
        self.name = name
        self.linkstr = linkstr
        self.softc = softc
        self.memory = Softc.from_address(softc)
        self.memory.name = name.encode()
        self.memory.unit = int(name.removeprefix("virt"))
        self.user = 0
        """The host's handle, for sending."""

        self.mac = b""
        self.stack: Stack | None = None

    def propose_mac(self, random: int) -> None:
        """Write the address that NetBSD's driver would propose."""
        mac = bytes((0xB2, 0x0A, random, 0x0B, 0x0E, self.memory.unit & 0xFF))
        ctypes.memmove(self.mac_address, mac, len(mac))

    @property
    def mac_address(self) -> int:
        """Where in the kernel's memory the Ethernet address is."""
        return self.softc + Softc.mac.offset

    def attach(self, user: int, addresses: Sequence[Address]) -> None:
        """Take the host's handle and Ethernet address, and be up."""
        mac = bytes(self.memory.mac)
        if not user or is_group(mac):
            raise MiniKernelError(
                "rumpcomp_virt_create",
                f"gave the handle {user:#x} and the address {format_mac(mac)}",
            )
        self.user, self.mac = user, mac
        self.stack = Stack(
            mac,
            [a for a in addresses if isinstance(a, IPv4Interface)],
            [a for a in addresses if isinstance(a, IPv6Interface)],
        )
        self.memory.flags |= RUNNING

    def detach(self) -> None:
        """Be down, and keep a copy of what the kernel's memory holds."""
        self.memory.flags &= ~RUNNING
        self.memory = Softc.from_buffer_copy(self.memory)

    @property
    def running(self) -> bool:
        return bool(self.memory.flags & RUNNING)

    @property
    def addresses(self) -> list[Address]:
        """The IP addresses, the link-local one included."""
        return [] if self.stack is None else [*self.stack.ipv4, *self.stack.ipv6]

    def counters(self) -> InterfaceCounters:
        """The counters, from the kernel's memory."""
        names = [field.name for field in attrs.fields(InterfaceCounters)]
        return InterfaceCounters(*(getattr(self.memory, name) for name in names))


def check_name(name: str) -> None:
    """Raise MiniKernelError unless ``name`` is virt and a unit number."""
    if not re.fullmatch(r"virt(0|[1-9]\d{0,8})", name, re.ASCII):
        raise MiniKernelError(
            f"interface {name!r}",
            "this kernel has virt interfaces only",
            "call it virt0",
            netbsd_errno=abi.EINVAL,
        )


def parse_addresses(texts: Sequence[str]) -> list[Address]:
    """``10.0.0.2/24`` and ``fd00::2/64`` as values; raises MiniKernelError."""
    addresses: list[Address] = []
    for text in texts:
        try:
            addresses.append(ip_interface(text))
        except ValueError as error:
            raise MiniKernelError(
                f"address {text!r}", str(error), "write it as 10.0.0.2/24"
            ) from None
    return addresses
