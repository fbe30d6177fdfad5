"""Requests to network interfaces, as ifconfig and ip make them.

By ioctl(2) (netdevice(7)) where there is one, by rtnetlink(7) for addresses;
never by another program. Facts: the kernel's include/uapi/linux/sockios.h,
if.h and if_addr.h.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct

from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host import ifreq, rtnetlink
from rumphyper.host.libc import from_oserror
from rumphyper.host.netns import Netns, within
from rumphyper.host.rtnetlink import IFADDR, IFINFO, Rtnetlink

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class Netif:
    """The interfaces of one network namespace.

    ``netns`` is a name, path or process id (None: the caller's). Both sockets
    are opened there and stay there. Methods take the interface's name and
    raise HostError. For one thread at a time.
    """

    def __init__(self, netns: Netns | None = None) -> None:
        self._socket, self._routes = within(netns, _sockets)

    # -- asking --------------------------------------------------------------

    def names(self) -> list[str]:
        """Every interface's name, in the order of their indexes."""
        listed = self._routes.dump(
            rtnetlink.RTM_GETLINK, IFINFO.pack(0, 0, 0, 0, 0), "list of interfaces"
        )
        found = []
        for message in listed:
            if message.kind == rtnetlink.RTM_NEWLINK:
                parts = rtnetlink.attributes(message.body[IFINFO.size :])
                name = parts.get(rtnetlink.IFLA_IFNAME, b"").rstrip(b"\0")
                found.append(os.fsdecode(name))
        return found

    def exists(self, name: str) -> bool:
        """Whether there is an interface of this name."""
        try:
            self.index(name)
        except HostError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def index(self, name: str) -> int:
        """The interface's index, from 1 on."""
        return self._integer(ifreq.SIOCGIFINDEX, name)

    def mtu(self, name: str) -> int:
        """Octets of payload behind the Ethernet header."""
        return self._integer(ifreq.SIOCGIFMTU, name)

    def tx_queue_length(self, name: str) -> int:
        """Frames that wait at most for the device."""
        return self._integer(ifreq.SIOCGIFTXQLEN, name)

    def flags(self, name: str) -> int:
        """IFF_UP and the like, 16 bits."""
        flags: int = struct.unpack_from(
            "=H", self._ask(ifreq.SIOCGIFFLAGS, name), ifreq.IFNAMSIZ
        )[0]
        return flags

    def is_up(self, name: str) -> bool:
        """Whether the interface is administratively up."""
        return bool(self.flags(name) & ifreq.IFF_UP)

    def mac(self, name: str) -> bytes:
        """6 octets. HostError when the interface is not Ethernet's kind."""
        request = self._ask(ifreq.SIOCGIFHWADDR, name)
        (kind,) = struct.unpack_from("=H", request, ifreq.IFNAMSIZ)
        if kind != ifreq.ARPHRD_ETHER:
            cause = f"its hardware type is {kind}, not Ethernet's"
            raise HostError(f"interface {name}", cause, errno=errno.EINVAL)
        return bytes(request[ifreq.IFNAMSIZ + 2 : ifreq.IFNAMSIZ + 8])

    def addresses(self, name: str) -> list[Address]:
        """The IPv4 and IPv6 addresses with their prefixes."""
        index = self.index(name)
        thing = f"addresses of {name}"
        body = IFADDR.pack(0, 0, 0, 0, index)
        found: list[Address] = []
        for message in self._routes.dump(rtnetlink.RTM_GETADDR, body, thing):
            if message.kind == rtnetlink.RTM_NEWADDR and len(message.body) >= 8:
                _, prefix, _, _, owner = IFADDR.unpack_from(message.body)
                parts = rtnetlink.attributes(message.body[IFADDR.size :])
                whole = parts.get(rtnetlink.IFA_ADDRESS, b"")
                octets = parts.get(rtnetlink.IFA_LOCAL, whole)
                if owner == index and len(octets) in (4, 16):
                    address = ipaddress.ip_address(octets)
                    found.append(ipaddress.ip_interface(f"{address}/{prefix}"))
        return found

    # -- changing ------------------------------------------------------------

    def set_up(self, name: str) -> None:
        """Bring the interface up."""
        self._set_flags(name, self.flags(name) | ifreq.IFF_UP)

    def set_down(self, name: str) -> None:
        """Take the interface down."""
        self._set_flags(name, self.flags(name) & ~ifreq.IFF_UP)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the octets of payload behind the Ethernet header."""
        self._set(
            ifreq.SIOCSIFMTU, name, mtu, f"the device does not take an MTU of {mtu}"
        )

    def set_mac(self, name: str, mac: bytes) -> None:
        """Set the 6 octets of the Ethernet address."""
        if len(mac) != 6 or mac[0] & 1:
            cause = f"{mac.hex(':')} is no address of a station"
            remedy = "6 octets, the first of them even"
            raise HostError(f"interface {name}", cause, remedy, errno.EINVAL)
        value = struct.pack("=H6s", ifreq.ARPHRD_ETHER, mac)
        self._ask(
            ifreq.SIOCSIFHWADDR, name, value, "the device does not take this address"
        )

    def add_address(self, name: str, address: str | Address) -> None:
        """Give the interface an address such as ``10.0.0.1/24``.

        IPv6 addresses skip duplicate address detection, which would keep them
        unusable for a second.
        """
        flags = rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL
        self._change_address(rtnetlink.RTM_NEWADDR, flags, name, address)

    def remove_address(self, name: str, address: str | Address) -> None:
        """Take an address away."""
        self._change_address(rtnetlink.RTM_DELADDR, 0, name, address)

    def delete(self, name: str) -> None:
        """Delete the interface, where its kind allows that."""
        body = IFINFO.pack(0, 0, self.index(name), 0, 0)
        self._routes.change(rtnetlink.RTM_DELLINK, 0, body, f"interface {name}")

    # -- below ---------------------------------------------------------------

    def _change_address(
        self, kind: int, flags: int, name: str, address: str | Address
    ) -> None:
        thing = f"address {address} of {name}"
        try:
            value = ipaddress.ip_interface(address)
        except ValueError as error:
            remedy = "write it as 10.0.0.1/24 or fd00::1/64"
            raise HostError(thing, str(error), remedy, errno.EINVAL) from None
        four = value.version == 4
        family = socket.AF_INET if four else socket.AF_INET6
        hints = 0 if four else rtnetlink.IFA_F_NODAD
        index = self.index(name)
        body = IFADDR.pack(family, value.network.prefixlen, hints, 0, index)
        body += rtnetlink.attribute(rtnetlink.IFA_LOCAL, value.ip.packed)
        body += rtnetlink.attribute(rtnetlink.IFA_ADDRESS, value.ip.packed)
        if four and value.network.prefixlen < 31:
            octets = value.network.broadcast_address.packed
            body += rtnetlink.attribute(rtnetlink.IFA_BROADCAST, octets)
        self._routes.change(kind, flags, body, thing)

    def _set_flags(self, name: str, flags: int) -> None:
        self._ask(ifreq.SIOCSIFFLAGS, name, struct.pack("=H", flags & 0xFFFF))

    def _set(self, request: int, name: str, value: int, refused: str) -> None:
        if not 0 <= value <= 0x7FFFFFFF:
            raise HostError(f"interface {name}", refused, errno=errno.EINVAL)
        self._ask(request, name, struct.pack("=i", value), refused)

    def _integer(self, request: int, name: str) -> int:
        value: int = struct.unpack_from("=i", self._ask(request, name), ifreq.IFNAMSIZ)[
            0
        ]
        return value

    def _ask(
        self, request: int, name: str, value: bytes = b"", refused: str = ""
    ) -> bytearray:
        return ifreq.ask(self._socket.fileno(), request, name, value, refused)

    def close(self) -> None:
        """Close both sockets. Idempotent."""
        self._socket.close()
        self._routes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sockets() -> tuple[socket.socket, Rtnetlink]:
    """Open what requests are made on, in the namespace of this thread."""
    routes = Rtnetlink()
    try:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        return socket.socket(socket.AF_INET, kind), routes
    except OSError as error:
        routes.close()
        raise from_oserror(error, "socket for interface requests") from None
