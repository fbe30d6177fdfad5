"""Routing messages: what the kernel tells of interfaces, addresses and routes.

Sources: NetBSD sys/net/route.h (struct rt_msghdr, rt_metrics, RTM_*, RTA_*,
RT_ROUNDUP), net/if.h (struct if_msghdr, if_data, ifa_msghdr), net/rtsock.c
(order of the addresses, sysctl_rtable). Version 4 of the messages, as they are
in NetBSD 7.99.34. Nothing here calls the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from rumphyper.errors import CorruptError

RTM_VERSION = 4
RTM_ADD, RTM_DELETE, RTM_GET = 1, 2, 4
RTM_NEWADDR, RTM_IFINFO = 0xC, 0x14

RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_STATIC = 0x1, 0x2, 0x4, 0x800
RTF_LLDATA, RTF_LOCAL, RTF_BROADCAST = 0x400, 0x40000, 0x80000

RTA_NAMES = ("dst", "gateway", "netmask", "genmask", "ifp", "ifa", "author", "brd")
RTA_DST, RTA_GATEWAY, RTA_NETMASK, RTA_IFP, RTA_IFA = 1, 2, 4, 0x10, 0x20

CTL_NET, NET_RT_DUMP, NET_RT_IFLIST = 4, 1, 5

RT_HEADER = struct.Struct("=HBBH2xiiiiiii4x8Qqq")
IF_HEADER = struct.Struct("=HBBiiH2x")
IFA_HEADER = struct.Struct("=HBBiiiH6x")
IF_DATA = struct.Struct("=BBBxi14Q")

COUNTERS = (
    *("mtu", "metric", "baudrate", "ipackets", "ierrors", "opackets", "oerrors"),
    *("collisions", "ibytes", "obytes", "imcasts", "omcasts", "iqdrops", "noproto"),
)
"""The 64-bit fields of struct if_data, in order."""


@attrs.frozen
class IfInfo:
    """RTM_IFINFO: one interface."""

    index: int
    flags: int
    link_state: int
    data: Mapping[str, int]
    """The fields of struct if_data (see `COUNTERS`)."""

    addresses: Mapping[str, bytes]


@attrs.frozen
class IfAddress:
    """RTM_NEWADDR: one address of an interface."""

    index: int
    addresses: Mapping[str, bytes]


@attrs.frozen
class RouteEntry:
    """RTM_GET: one route."""

    index: int
    flags: int
    addresses: Mapping[str, bytes]


Message = IfInfo | IfAddress | RouteEntry


def parse_messages(data: bytes) -> Iterator[Message]:
    """The messages of a sysctl's answer; those of unknown kinds are left out.

    Raises CorruptError when lengths do not agree.
    """
    place = 0
    while place < len(data):
        if len(data) - place < 4:
            raise _corrupt(f"{len(data) - place} octets are left over")
        size, version, kind = struct.unpack_from("=HBB", data, place)
        if size < 4 or place + size > len(data):
            raise _corrupt(f"a message of {size} octets at {place}")
        message = data[place : place + size]
        place += size
        parser = _PARSERS.get(kind)
        if version == RTM_VERSION and parser is not None:
            yield parser(message)


def _if_info(message: bytes) -> IfInfo:
    _, _, _, present, flags, index = _unpack(IF_HEADER, message)
    _, _, _, link_state, *counters = _unpack(IF_DATA, message, IF_HEADER.size)
    end = IF_HEADER.size + IF_DATA.size + 8 + struct.calcsize("@l")  # struct timespec
    return IfInfo(
        index=index,
        flags=flags,
        link_state=link_state,
        data=dict(zip(COUNTERS, counters, strict=True)),
        addresses=_addresses(message, -(-end // 8) * 8, present),
    )


def _if_address(message: bytes) -> IfAddress:
    _, _, _, present, _, _, index = _unpack(IFA_HEADER, message)
    return IfAddress(index, _addresses(message, IFA_HEADER.size, present))


def _route(message: bytes) -> RouteEntry:
    _, _, _, index, flags, present, *_ = _unpack(RT_HEADER, message)
    return RouteEntry(index, flags, _addresses(message, RT_HEADER.size, present))


_PARSERS: dict[int, Callable[[bytes], Message]] = {
    RTM_IFINFO: _if_info,
    RTM_NEWADDR: _if_address,
    RTM_GET: _route,
}


def _addresses(message: bytes, place: int, present: int) -> dict[str, bytes]:
    """The socket addresses behind a header, by name."""
    found = {}
    for bit, name in enumerate(RTA_NAMES):
        if not present & 1 << bit:
            continue
        if place >= len(message):
            raise _corrupt(f"the address {name} is missing")
        size = message[place]
        found[name] = message[place : place + size]
        place += roundup(size)
    return found


def roundup(size: int) -> int:
    """RT_ROUNDUP: addresses stand at multiples of 8 octets, empty ones take 8."""
    return -(-size // 8) * 8 or 8


def route_message(
    kind: int, flags: int, sequence: int, addresses: Mapping[int, bytes], index: int = 0
) -> bytes:
    """A message for a routing socket; ``addresses`` by their RTA bit."""
    body = b"".join(
        address.ljust(roundup(len(address)), b"\0")
        for _, address in sorted(addresses.items())
    )
    size, present = RT_HEADER.size + len(body), sum(addresses)
    head = RT_HEADER.pack(
        *(size, RTM_VERSION, kind, index, flags, present, 0, sequence, 0, 0, 0),
        *(0,) * 10,
    )
    return head + body


def _unpack(layout: struct.Struct, message: bytes, place: int = 0) -> tuple[Any, ...]:
    if place + layout.size > len(message):
        raise _corrupt(f"a message of {len(message)} octets is cut short")
    return layout.unpack_from(message, place)


def _corrupt(cause: str) -> CorruptError:
    return CorruptError(
        "routing messages of the kernel", cause, "another version of NetBSD?"
    )
