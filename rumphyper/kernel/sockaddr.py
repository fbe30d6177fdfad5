"""Socket addresses: Python's forms to and from NetBSD's sockaddr structures.

Python's forms are those of the `socket` module: ``(host, port)`` for AF_INET,
``(host, port, flowinfo, scope_id)`` for AF_INET6 (the last two optional), a
path as str or bytes for AF_UNIX. Hosts are numeric, ``""`` (any address),
``"<broadcast>"`` or ``"localhost"``: there is no resolver below.

Every NetBSD sockaddr starts with an octet of length and one of family:
sys/sys/socket.h (sockaddr), sys/netinet/in.h (sockaddr_in, 16 octets),
sys/netinet6/in6.h (sockaddr_in6, 28 octets), sys/sys/un.h (sockaddr_un).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

from rumphyper.kernel.constants import FAMILIES

INET = FAMILIES["AF_INET"]
INET6 = FAMILIES["AF_INET6"]
LOCAL = FAMILIES["AF_UNIX"]

SOCKADDR_MAX = 256
"""Room for any sockaddr: sa_len is one octet (sys/sys/socket.h, sockaddr_big)."""

UNIX_PATH_MAX = 253
"""Octets in an AF_UNIX path, without its NUL (sys/sys/socket.h)."""

Address = tuple[str, int] | tuple[str, int, int, int] | str | bytes | None
"""What the methods return: as socket.socket for that family."""

Scope = Callable[[str], int]
"""Finds the index of a kernel interface by name; raises OSError."""

_IN = struct.Struct("!BBH4s8x")
_IN6 = struct.Struct("!BBHI16s")  # and the scope id in the host's byte order
_SCOPE = struct.Struct("=I")
_ANY = b"\0\0\0\0"
_ANY6 = bytes(16)


def no_scope(name: str) -> int:
    """The Scope of those who know no interfaces: every name is unknown."""
    raise OSError(errno.ENXIO, f"no interface {name!r}: use its index as scope_id")


def parse_ipv4(host: object) -> bytes:
    """The 4 octets of a host; raises gaierror or TypeError as socket does."""
    text = _host_text(host)
    if not text:
        return _ANY
    if text == "<broadcast>":
        return b"\xff\xff\xff\xff"
    if text == "localhost":
        return b"\x7f\0\0\x01"
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    try:  # the short forms that getaddrinfo takes, as in "127.1"
        if not any(character.isspace() for character in text):
            return socket.inet_aton(text)
    except (OSError, ValueError):
        pass
    raise unresolved(text)


def parse_ipv6(host: object, scope: Scope = no_scope) -> tuple[bytes, int]:
    """The 16 octets and the scope id of a host such as ``fe80::1%lo0``."""
    text = _host_text(host)
    if not text:
        return _ANY6, 0
    if text == "localhost":
        return bytes(15) + b"\x01", 0
    number, percent, zone = text.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6, number)
    except (OSError, ValueError):
        raise unresolved(text) from None
    if not percent:
        return packed, 0
    return packed, int(zone) if zone.isdecimal() else scope(zone)


def unresolved(host: str) -> socket.gaierror:
    """The error for a host that is not numeric, with what to do about it."""
    return socket.gaierror(
        socket.EAI_NONAME,
        f"{host!r} is not a numeric address and the rump kernel has no resolver: "
        "resolve it first, for instance with the host's socket.getaddrinfo",
    )


def _host_text(host: object) -> str:
    if isinstance(host, str):
        return host
    if isinstance(host, (bytes, bytearray)):
        return host.decode("ascii", "replace")
    raise TypeError("str, bytes or bytearray expected, not " + type(host).__name__)


def _port(caller: str, port: object) -> int:
    if not isinstance(port, int):
        if not hasattr(port, "__index__"):
            kind = type(port).__name__
            raise TypeError(f"{kind!r} object cannot be interpreted as an integer")
        port = int(port.__index__())
    if not 0 <= port <= 0xFFFF:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    return port


def pack(
    family: int, address: object, caller: str = "bind", scope: Scope = no_scope
) -> bytes:
    """NetBSD's sockaddr of ``address``; ``family`` is NetBSD's number.

    Raises what socket.socket raises for the same address: TypeError for another
    form, OverflowError for a port or flow out of range, gaierror for a host that
    is not numeric, OSError for a path that does not fit or another family.
    """
    if family == INET:
        if not isinstance(address, tuple):
            raise TypeError(
                f"{caller}(): AF_INET address must be tuple, not "
                + type(address).__name__
            )
        if len(address) != 2:
            raise TypeError(f"{caller}(): AF_INET address must be a pair (host, port)")
        port = _port(caller, address[1])
        return _IN.pack(16, INET, port, parse_ipv4(address[0]))
    if family == INET6:
        return _pack6(address, caller, scope)
    if family == LOCAL:
        return _pack_local(address)
    raise OSError(errno.EAFNOSUPPORT, f"{caller}(): bad family")


def _pack6(address: object, caller: str, scope: Scope) -> bytes:
    if not isinstance(address, tuple):
        raise TypeError(
            f"{caller}(): AF_INET6 address must be tuple, not " + type(address).__name__
        )
    if not 2 <= len(address) <= 4:
        raise TypeError(
            f"{caller}(): AF_INET6 address must be a tuple "
            "(host, port[, flowinfo[, scopeid]])"
        )
    port = _port(caller, address[1])
    flow = address[2] if len(address) > 2 else 0
    zone = address[3] if len(address) > 3 else 0
    for value in (flow, zone):
        if not isinstance(value, int):
            kind = type(value).__name__
            raise TypeError(f"{kind!r} object cannot be interpreted as an integer")
    if not 0 <= flow <= 0xFFFFF:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    if not 0 <= zone <= 0xFFFFFFFF:
        raise OverflowError(f"{caller}(): scope_id must be 0-4294967295.")
    packed, found = parse_ipv6(address[0], scope)
    return _IN6.pack(28, INET6, port, flow, packed) + _SCOPE.pack(zone or found)


def _pack_local(address: object) -> bytes:
    if isinstance(address, str):
        path = os.fsencode(address)
    elif isinstance(address, (bytes, bytearray, memoryview)):
        path = bytes(address)
    else:
        raise TypeError(
            "a bytes-like object is required, not " + repr(type(address).__name__)
        )
    if path.startswith(b"\0"):
        raise OSError(errno.EINVAL, "NetBSD has no abstract AF_UNIX addresses")
    if b"\0" in path:
        raise ValueError("embedded null byte in an AF_UNIX path")
    if len(path) > UNIX_PATH_MAX:
        raise OSError("AF_UNIX path too long")
    return bytes((len(path) + 2, LOCAL)) + path


def unpack(raw: bytes) -> Address:
    """Python's form of NetBSD's sockaddr, None for none.

    A family without a form of its own is returned as bytes. Raises ValueError
    when the structure is shorter than its family says.
    """
    if len(raw) < 2:
        return None
    family = raw[1]
    if family == INET:
        if len(raw) < 8:
            raise ValueError(f"sockaddr_in of {len(raw)} octets")
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), raw[2] << 8 | raw[3]
    if family == INET6:
        if len(raw) < 28:
            raise ValueError(f"sockaddr_in6 of {len(raw)} octets")
        _, _, port, flow, packed = _IN6.unpack_from(raw)
        (zone,) = _SCOPE.unpack_from(raw, 24)
        return socket.inet_ntop(socket.AF_INET6, packed), port, flow, zone
    if family == LOCAL:
        path = raw[2:].partition(b"\0")[0]
        return os.fsdecode(path)
    return raw
