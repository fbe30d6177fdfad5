"""NetBSD's socket numbers and their translation to and from the host's.

Callers of `kernel.socket` use the constants of the host's `socket` module; the
kernel wants NetBSD's. Numbers: NetBSD sys/sys/socket.h, sys/netinet/in.h,
sys/netinet/tcp.h, sys/netinet6/in6.h, sys/sys/un.h (7.99.34, the tables that
rump/rumpdefs.h also carries). A name that the host lacks is left out of the
translation; `Native` passes any NetBSD number through untouched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from rumphyper.hypercalls.errno import Errno, to_host


class Native(int):
    """A number in NetBSD's own numbering, which is passed on as it is.

    For what the host has no name for: ``sock.setsockopt(Native(0), Native(19), 2)``
    sets IP_PORTRANGE to IP_PORTRANGE_LOW.
    """


FAMILIES = {"AF_UNSPEC": 0, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 24}

TYPES = {
    "SOCK_STREAM": 1,
    "SOCK_DGRAM": 2,
    "SOCK_RAW": 3,
    "SOCK_RDM": 4,
    "SOCK_SEQPACKET": 5,
}

SOCK_CLOEXEC = 0x10000000
SOCK_NONBLOCK = 0x20000000
SOCK_NOSIGPIPE = 0x40000000
SOCK_FLAGS = SOCK_CLOEXEC | SOCK_NOSIGPIPE
"""What every socket gets: a signal would hit the host's process."""

MESSAGE_FLAGS = {
    "MSG_OOB": 0x0001,
    "MSG_PEEK": 0x0002,
    "MSG_DONTROUTE": 0x0004,
    "MSG_EOR": 0x0008,
    "MSG_TRUNC": 0x0010,
    "MSG_CTRUNC": 0x0020,
    "MSG_WAITALL": 0x0040,
    "MSG_DONTWAIT": 0x0080,
    "MSG_NOSIGNAL": 0x0400,
    "MSG_CMSG_CLOEXEC": 0x0800,
}
MSG_DONTWAIT = 0x0080
MSG_WAITALL = 0x0040
MSG_NBIO = 0x1000
"""Sending never waits for room with this one; MSG_DONTWAIT alone only keeps it
from waiting for the buffer's lock (sys/kern/uipc_socket.c, sosend)."""

HINTS = ("MSG_MORE", "MSG_CONFIRM")
"""Flags of the host that ask for nothing but speed: dropped."""

SOL_SOCKET = 0xFFFF
SOL_LOCAL = 0
"""The level of AF_UNIX's own options (sys/sys/un.h)."""

LEVELS = {  # without IPPROTO_ICMP: 1 is Linux's SOL_SOCKET
    "SOL_SOCKET": SOL_SOCKET,
    "IPPROTO_IP": 0,
    "IPPROTO_TCP": 6,
    "IPPROTO_UDP": 17,
    "IPPROTO_IPV6": 41,
    "IPPROTO_ICMPV6": 58,
}

SOCKET_OPTIONS = {
    "SO_DEBUG": 0x0001,
    "SO_ACCEPTCONN": 0x0002,
    "SO_REUSEADDR": 0x0004,
    "SO_KEEPALIVE": 0x0008,
    "SO_DONTROUTE": 0x0010,
    "SO_BROADCAST": 0x0020,
    "SO_USELOOPBACK": 0x0040,
    "SO_LINGER": 0x0080,
    "SO_OOBINLINE": 0x0100,
    "SO_REUSEPORT": 0x0200,
    "SO_NOSIGPIPE": 0x0800,
    "SO_TIMESTAMP": 0x2000,
    "SO_SNDBUF": 0x1001,
    "SO_RCVBUF": 0x1002,
    "SO_SNDLOWAT": 0x1003,
    "SO_RCVLOWAT": 0x1004,
    "SO_ERROR": 0x1007,
    "SO_TYPE": 0x1008,
    "SO_SNDTIMEO": 0x100B,
    "SO_RCVTIMEO": 0x100C,
}
SO_ERROR = 0x1007
SO_TYPE = 0x1008
SO_SNDTIMEO = 0x100B
SO_RCVTIMEO = 0x100C
LOCAL_PEEREID = 0x0003

IP_OPTIONS = {
    "IP_OPTIONS": 1,
    "IP_HDRINCL": 2,
    "IP_TOS": 3,
    "IP_TTL": 4,
    "IP_RECVOPTS": 5,
    "IP_RECVRETOPTS": 6,
    "IP_RECVDSTADDR": 7,
    "IP_RETOPTS": 8,
    "IP_MULTICAST_IF": 9,
    "IP_MULTICAST_TTL": 10,
    "IP_MULTICAST_LOOP": 11,
    "IP_ADD_MEMBERSHIP": 12,
    "IP_DROP_MEMBERSHIP": 13,
    "IP_RECVTTL": 23,
    "IP_PKTINFO": 26,  # Linux's name for "tell me": NetBSD's IP_RECVPKTINFO
}

TCP_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_MAXSEG": 2,
    "TCP_KEEPIDLE": 3,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6,
    "TCP_INFO": 9,  # with NetBSD's structure (sys/netinet/tcp.h)
}

IPV6_OPTIONS = {
    "IPV6_UNICAST_HOPS": 4,
    "IPV6_MULTICAST_IF": 9,
    "IPV6_MULTICAST_HOPS": 10,
    "IPV6_MULTICAST_LOOP": 11,
    "IPV6_JOIN_GROUP": 12,
    "IPV6_LEAVE_GROUP": 13,
    "IPV6_CHECKSUM": 26,
    "IPV6_V6ONLY": 27,
    "IPV6_RTHDRDSTOPTS": 35,
    "IPV6_RECVPKTINFO": 36,
    "IPV6_RECVHOPLIMIT": 37,
    "IPV6_RECVRTHDR": 38,
    "IPV6_RECVHOPOPTS": 39,
    "IPV6_RECVDSTOPTS": 40,
    "IPV6_USE_MIN_MTU": 42,
    "IPV6_RECVPATHMTU": 43,
    "IPV6_PATHMTU": 44,
    "IPV6_PKTINFO": 46,
    "IPV6_HOPLIMIT": 47,
    "IPV6_NEXTHOP": 48,
    "IPV6_HOPOPTS": 49,
    "IPV6_DSTOPTS": 50,
    "IPV6_RTHDR": 51,
    "IPV6_RECVTCLASS": 57,
    "IPV6_TCLASS": 61,
    "IPV6_DONTFRAG": 62,
}

ICMPV6_OPTIONS = {"ICMPV6_FILTER": 18}
HOST_ICMPV6_FILTER = 1
"""Linux's number, which the socket module has no name for."""

HOST_TIMESTAMP = 29
"""Linux's SO_TIMESTAMP, also without a name there."""

_BY_LEVEL: Mapping[int, Mapping[str, int]] = {
    SOL_SOCKET: SOCKET_OPTIONS,
    0: IP_OPTIONS,
    6: TCP_OPTIONS,
    41: IPV6_OPTIONS,
}


def by_host_number(table: Mapping[str, int]) -> dict[int, int]:
    """Host number to NetBSD number, for the names that the host has."""
    return {
        int(getattr(socket, name)): number
        for name, number in table.items()
        if hasattr(socket, name)
    }


def backwards(table: Mapping[int, int]) -> dict[int, int]:
    """The translation in the other direction."""
    return {netbsd: host for host, netbsd in table.items()}


FAMILY_TO_NETBSD = by_host_number(FAMILIES)
FAMILY_TO_HOST = backwards(FAMILY_TO_NETBSD)
TYPE_TO_NETBSD = by_host_number(TYPES)
TYPE_TO_HOST = backwards(TYPE_TO_NETBSD)
LEVEL_TO_NETBSD = by_host_number(LEVELS)
LEVEL_TO_HOST = backwards(LEVEL_TO_NETBSD)
FLAG_TO_NETBSD = by_host_number(MESSAGE_FLAGS)
FLAG_TO_HOST = backwards(FLAG_TO_NETBSD)
OPTION_TO_NETBSD = {level: by_host_number(table) for level, table in _BY_LEVEL.items()}
OPTION_TO_NETBSD[SOL_SOCKET].setdefault(HOST_TIMESTAMP, SOCKET_OPTIONS["SO_TIMESTAMP"])
OPTION_TO_NETBSD[58] = {HOST_ICMPV6_FILTER: ICMPV6_OPTIONS["ICMPV6_FILTER"]}
OPTION_TO_HOST = {level: backwards(table) for level, table in OPTION_TO_NETBSD.items()}

_IGNORED = sum({int(getattr(socket, name, 0)) for name in HINTS})


def failure(number: int, path: object = None, other: object = None) -> OSError:
    """The exception for NetBSD's errno ``number``: host's number, fitting class.

    ``path`` and ``other`` become its ``filename`` and ``filename2``.
    """
    host = to_host(number)
    if path is None:
        return OSError(host, os.strerror(host))
    return OSError(host, os.strerror(host), path, None, other)


def family_to_netbsd(family: int) -> int:
    """NetBSD's address family; OSError(EAFNOSUPPORT) for one it has not."""
    if isinstance(family, Native):
        return int(family)
    try:
        return FAMILY_TO_NETBSD[family]
    except KeyError:
        raise failure(Errno.EAFNOSUPPORT) from None


def type_to_netbsd(kind: int) -> int:
    """NetBSD's socket type, without flags; OSError(EINVAL) if unknown."""
    try:
        return TYPE_TO_NETBSD[kind]
    except KeyError:
        raise failure(Errno.EINVAL) from None


def flags_to_netbsd(flags: int) -> int:
    """NetBSD's MSG_* for the host's; OSError(EOPNOTSUPP) for what it cannot do."""
    number = 0
    rest = flags & ~_IGNORED
    while rest:
        bit = rest & -rest
        rest ^= bit
        try:
            number |= FLAG_TO_NETBSD[bit]
        except KeyError:
            raise failure(Errno.EOPNOTSUPP) from None
    return number


def flags_to_host(flags: int) -> int:
    """The host's MSG_* for NetBSD's; bits without a host name are dropped."""
    number = 0
    while flags:
        bit = flags & -flags
        flags ^= bit
        number |= FLAG_TO_HOST.get(bit, 0)
    return number


def option_to_netbsd(level: int, option: int) -> tuple[int, int]:
    """NetBSD's level and option name; OSError(ENOPROTOOPT) for unknown ones."""
    if not isinstance(level, Native):
        try:
            level = LEVEL_TO_NETBSD[level]
        except KeyError:
            raise failure(Errno.ENOPROTOOPT) from None
    if isinstance(option, Native):
        return int(level), int(option)
    try:
        return int(level), OPTION_TO_NETBSD[level][option]
    except KeyError:
        raise failure(Errno.ENOPROTOOPT) from None
