"""Socket options: the host's numbers and structures to and from NetBSD's.

Most options are an int on both sides; the exceptions are named here with their
structures. Sources: NetBSD sys/sys/socket.h, sys/netinet/in.h (ip_mreq),
sys/netinet/icmp6.h (ICMP6_FILTER), sys/sys/un.h (LOCAL_PEEREID).
"""

from __future__ import annotations

import ctypes
import socket
import struct

from rumphyper.hypercalls.errno import Errno, to_host
from rumphyper.kernel.constants import (
    LEVEL_TO_NETBSD,
    LOCAL_PEEREID,
    SO_ERROR,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOL_LOCAL,
    SOL_SOCKET,
    failure,
    option_to_netbsd,
)


class Timeval(ctypes.Structure):
    """struct timeval: NetBSD's time_t is 64 bits wide everywhere (sys/sys/time.h)."""

    _fields_ = [("seconds", ctypes.c_int64), ("microseconds", ctypes.c_int)]


_HOST_TIMEVAL = struct.Struct("ll")

_FLAG_OPTIONS = frozenset((1, 2, 4, 8, 0x10, 0x20, 0x40, 0x100, 0x200, 0x800, 0x2000))
"""SOL_SOCKET options that are a bit of so_options: read as that bit, not as 1."""

DEFAULT_PROTOCOLS = {
    (int(family), int(kind)): proto
    for family in (socket.AF_INET, socket.AF_INET6)
    for kind, proto in ((socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17))
}
"""What protocol 0 stands for, by the host's family and type."""

_MEMBERSHIPS = frozenset((12, 13))
_IP = 0
_ICMPV6 = 58


def timeval(seconds: float) -> bytes:
    """NetBSD's struct timeval of a span in seconds."""
    whole = int(seconds)
    return bytes(Timeval(whole, int((seconds - whole) * 1e6)))


def translate(level: int, option: int) -> tuple[int, int]:
    """NetBSD's level and name of a host option; OSError(ENOPROTOOPT) if none."""
    if level == socket.SOL_SOCKET and option == getattr(socket, "SO_PEERCRED", None):
        return SOL_LOCAL, LOCAL_PEEREID  # both structures are pid, uid, gid
    return option_to_netbsd(level, option)


def value_to_netbsd(level: int, option: int, value: bytes) -> bytes:
    """The value of a NetBSD option from the host's structure for it."""
    if level == SOL_SOCKET and option in (SO_SNDTIMEO, SO_RCVTIMEO):
        if len(value) != _HOST_TIMEVAL.size:
            raise failure(Errno.EINVAL)
        seconds, microseconds = _HOST_TIMEVAL.unpack(value)
        return bytes(Timeval(seconds, microseconds))
    if level == _IP and option in _MEMBERSHIPS and len(value) == 12:
        group, _, index = struct.unpack("=4s4si", value)
        # Linux's ip_mreqn; NetBSD takes an interface's index as 0.0.0.index
        # (sys/netinet/ip_output.c, ip_multicast_if).
        if index:
            return bytes(group) + struct.pack("!I", index)
        return value[:8]
    if level == _ICMPV6:  # a set bit blocks on Linux and passes on BSD
        return bytes(octet ^ 0xFF for octet in value)
    return value


def value_to_host(level: int, option: int, value: bytes) -> bytes:
    """The host's structure from the value of a NetBSD option."""
    if level == SOL_SOCKET and option in (SO_SNDTIMEO, SO_RCVTIMEO):
        span = Timeval.from_buffer_copy(value)
        return _HOST_TIMEVAL.pack(span.seconds, span.microseconds)
    if level == _ICMPV6:
        return bytes(octet ^ 0xFF for octet in value)
    return value


def number_to_host(level: int, option: int, value: int) -> int:
    """The host's number from an int option of NetBSD."""
    if level == SOL_SOCKET:
        if option == SO_ERROR:
            return to_host(value)
        if option in _FLAG_OPTIONS:
            return 1 if value else 0
    return value


def known_to_us(level: int, option: int) -> str:
    """``family``, ``type`` or ``proto`` for the options that NetBSD has not but
    that the socket object can answer itself, else an empty string."""
    if LEVEL_TO_NETBSD.get(level) != SOL_SOCKET:
        return ""
    if option == getattr(socket, "SO_DOMAIN", None):
        return "family"
    return "proto" if option == getattr(socket, "SO_PROTOCOL", None) else ""
