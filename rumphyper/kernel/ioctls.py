"""NetBSD's interface ioctls: request numbers and structures as octets.

Sources, all below NetBSD sys/ (7.99.34): sys/ioccom.h (how a request is made
up), sys/sockio.h (numbers), net/if.h (struct ifreq, ifaliasreq, if_laddrreq,
ifdrv, if_clonereq), netinet6/in6_var.h (struct in6_ifreq, in6_aliasreq),
net/if_bridgevar.h (struct ifbreq, BRDG*), net/bpf.h (BIOC*).

The kernel runs in this process, so `long` and pointers are the host's.
"""

from __future__ import annotations

import struct

IFNAMSIZ = 16
IOC_OUT, IOC_IN = 0x40000000, 0x80000000

POINTER = struct.calcsize("P")

IFREQ = IFNAMSIZ + 128  # its largest member is a sockaddr_storage
IFALIASREQ = IFNAMSIZ + 3 * 16
IN6_IFREQ = IFNAMSIZ + 34 * 8  # its largest member is struct icmp6_ifstat
IN6_ALIASREQ = 128
IF_LADDRREQ = IFNAMSIZ + 8 + 2 * 128
IFDRV = IFNAMSIZ + 3 * POINTER
IF_CLONEREQ = 8 + POINTER


def ioc(direction: int, group: str, number: int, size: int) -> int:
    """_IOC: ``direction`` is IOC_IN, IOC_OUT or both."""
    return direction | (size & 0x1FFF) << 16 | ord(group) << 8 | number


def iow(group: str, number: int, size: int) -> int:
    """_IOW: the kernel reads ``size`` octets."""
    return ioc(IOC_IN, group, number, size)


def iowr(group: str, number: int, size: int) -> int:
    """_IOWR: both."""
    return ioc(IOC_IN | IOC_OUT, group, number, size)


SIOCSIFFLAGS = iow("i", 16, IFREQ)
SIOCGIFFLAGS = iowr("i", 17, IFREQ)
SIOCDIFADDR = iow("i", 25, IFREQ)
SIOCAIFADDR = iow("i", 26, IFALIASREQ)
SIOCALIFADDR = iow("i", 28, IF_LADDRREQ)
SIOCDLIFADDR = iow("i", 30, IF_LADDRREQ)
SIOCGIFAFLAG_IN = iowr("i", 39, IFREQ)
SIOCIFGCLONERS = iowr("i", 120, IF_CLONEREQ)
SIOCIFDESTROY = iow("i", 121, IFREQ)
SIOCIFCREATE = iow("i", 122, IFREQ)
SIOCSDRVSPEC = iow("i", 123, IFDRV)
SIOCGIFMTU = iowr("i", 126, IFREQ)
SIOCSIFMTU = iow("i", 127, IFREQ)
SIOCSLINKSTR = iow("i", 136, IFDRV)
SIOCGIFINDEX = iowr("i", 140, IFREQ)

SIOCDIFADDR_IN6 = iow("i", 25, IN6_IFREQ)
SIOCGIFAFLAG_IN6 = iowr("i", 73, IN6_IFREQ)
SIOCAIFADDR_IN6 = iow("i", 107, IN6_ALIASREQ)

BRDGADD, BRDGDEL = 0, 1

IFF_UP = 0x1
IFF_FLAGS = {
    0x1: "UP",
    0x2: "BROADCAST",
    0x4: "DEBUG",
    0x8: "LOOPBACK",
    0x10: "POINTOPOINT",
    0x20: "NOTRAILERS",
    0x40: "RUNNING",
    0x80: "NOARP",
    0x100: "PROMISC",
    0x200: "ALLMULTI",
    0x400: "OACTIVE",
    0x800: "SIMPLEX",
    0x1000: "LINK0",
    0x2000: "LINK1",
    0x4000: "LINK2",
    0x8000: "MULTICAST",
}
"""Interface flags, as ifconfig(8) spells them."""

IFLR_ACTIVE = 0x4000
"""SIOCALIFADDR: make it the address that the interface uses."""

TENTATIVE, DUPLICATED = 0x1, 0x2
"""IN_IFF_*: netinet/in_var.h; TRYTENTATIVE: detection has yet to start."""

TRYTENTATIVE = 0x8
TENTATIVE6, DUPLICATED6 = 0x2, 0x4
"""IN6_IFF_*: netinet6/in6_var.h."""

ND6_INFINITE_LIFETIME = 0xFFFFFFFF


def ifreq(name: str, rest: bytes = b"") -> bytearray:
    """struct ifreq with ``rest`` in its union."""
    return _named(name, rest, IFREQ)


def in6_ifreq(name: str, address: bytes) -> bytearray:
    """struct in6_ifreq with a sockaddr_in6."""
    return _named(name, address, IN6_IFREQ)


def ifaliasreq(name: str, address: bytes, broadcast: bytes, mask: bytes) -> bytearray:
    """struct ifaliasreq; each address is a sockaddr_in of 16 octets."""
    return _named(name, address + broadcast + mask, IFALIASREQ)


def in6_aliasreq(name: str, address: bytes, mask: bytes) -> bytearray:
    """struct in6_aliasreq for an address that never expires."""
    request = _named(name, address + bytes(28) + mask, IN6_ALIASREQ)
    for offset in (120, 124):  # ia6t_vltime, ia6t_pltime
        struct.pack_into("=I", request, offset, ND6_INFINITE_LIFETIME)
    return request


def if_laddrreq(name: str, flags: int, address: bytes) -> bytearray:
    """struct if_laddrreq with a sockaddr_dl."""
    return _named(name, struct.pack("=II", flags, 0) + address, IF_LADDRREQ)


def ifdrv(name: str, command: int, address: int, length: int) -> bytearray:
    """struct ifdrv: ``length`` octets at ``address`` for the driver."""
    return _named(name, struct.pack("@LNP", command, length, address), IFDRV)


def ifbreq(member: str) -> bytearray:
    """struct ifbreq: an interface as a member of a bridge."""
    return _named(member, b"", IFNAMSIZ + 8)


def _named(name: str, rest: bytes, size: int) -> bytearray:
    """A structure that begins with an interface's name."""
    octets = name.encode()
    assert len(octets) < IFNAMSIZ
    request = bytearray(size)
    request[: len(octets)] = octets
    request[IFNAMSIZ : IFNAMSIZ + len(rest)] = rest
    return request
