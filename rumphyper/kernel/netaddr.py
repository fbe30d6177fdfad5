"""NetBSD's socket addresses inside of ioctls and routing messages.

Sources: NetBSD sys/sys/socket.h (numbers), netinet/in.h, netinet6/in6.h,
net/if_dl.h (layouts: every one begins with its length and its family). In
routing messages a link-local IPv6 address carries its interface's index in
octets 2 and 3 (netinet6/scope6.c, in6_setscope).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import attrs

AF_UNSPEC, AF_INET, AF_LINK, AF_INET6, AF_ROUTE = 0, 2, 18, 24, 34
SOCK_DGRAM, SOCK_RAW = 2, 3

Address = IPv4Address | IPv6Address


@attrs.frozen
class LinkAddress:
    """What a sockaddr_dl tells: an interface, and its hardware address."""

    index: int
    name: str
    mac: bytes
    """Empty where it has none."""


def pack(address: Address) -> bytes:
    """sockaddr_in (16 octets) or sockaddr_in6 (28) without a port."""
    if isinstance(address, IPv4Address):
        return struct.pack("=BBH4s8x", 16, AF_INET, 0, address.packed)
    return struct.pack("=BBHI16sI", 28, AF_INET6, 0, 0, address.packed, 0)


def pack_mask(address: Address, length: int) -> bytes:
    """The mask of ``length`` bits in the form of `pack`."""
    bits = address.max_prefixlen
    mask = type(address)((1 << bits) - (1 << bits - length))
    return pack(mask)


def pack_link(mac: bytes, index: int = 0) -> bytes:
    """sockaddr_dl with a hardware address and no name."""
    head = struct.pack("=BBHBBBB", 8 + 12, AF_LINK, index, 0, 0, len(mac), 0)
    return head + mac.ljust(12, b"\0")


def embed_scope(address: Address, index: int) -> Address:
    """Put an interface's index into a link-local IPv6 address, as routing wants."""
    if isinstance(address, IPv6Address) and address.is_link_local:
        packed = address.packed
        return IPv6Address(packed[:2] + index.to_bytes(2, "big") + packed[4:])
    return address


def parse(data: bytes) -> Address | LinkAddress | None:
    """The address in a sockaddr; None for one of another family or cut short."""
    family = data[1] if len(data) > 1 else AF_UNSPEC
    if family == AF_INET:
        return IPv4Address(data[4:8].ljust(4, b"\0"))
    if family == AF_INET6 and len(data) >= 24:
        packed = data[8:24]
        if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            packed = packed[:2] + b"\0\0" + packed[4:]
        return IPv6Address(packed)
    if family == AF_LINK and len(data) >= 8:
        (index,) = struct.unpack_from("=H", data, 2)
        name_size, mac_size = data[5], data[6]
        name = data[8 : 8 + name_size]
        mac = data[8 + name_size : 8 + name_size + mac_size]
        return LinkAddress(index, name.decode("ascii", "replace"), mac)
    return None


def parse_mask(data: bytes, family: int) -> int:
    """The number of leading one bits of a netmask, which may be cut short."""
    start = 4 if family == AF_INET else 8
    packed = data[start : start + (4 if family == AF_INET else 16)]
    bits = "".join(f"{octet:08b}" for octet in packed)
    return len(bits) - len(bits.lstrip("1"))
