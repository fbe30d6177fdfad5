"""Which routes go out through an interface, by rtnetlink(7).

Facts: the kernel's include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

from rumphyper.host.rtnetlink import Message, Rtnetlink, attributes

RTMSG = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, octets of destination and source in bits, service, table,
protocol, scope, type, flags."""

NEXTHOP = struct.Struct("=HBBi")
"""struct rtnexthop: length, flags, weight, interface index; attributes follow."""

RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTN_UNICAST = 1
RT_TABLE_LOCAL = 255
RTA_DST, RTA_OIF, RTA_MULTIPATH = 1, 4, 9


def routes(index: int) -> list[str]:
    """The destinations of the routes through the interface of this index.

    Such as ``default`` and ``10.0.0.0/24``. What every interface has that is up,
    its own addresses and IPv6's link-local prefix, is left out. Raises HostError.
    """
    with Rtnetlink() as netlink:
        answers = netlink.dump(RTM_GETROUTE, RTMSG.pack(*[0] * 9), "list of routes")
    found = (_destination(answer, index) for answer in answers)
    return [text for text in found if text]


def _destination(answer: Message, index: int) -> str:
    if answer.kind != RTM_NEWROUTE or len(answer.body) < RTMSG.size:
        return ""
    _, bits, _, _, table, _, _, kind, _ = RTMSG.unpack_from(answer.body)
    parts = attributes(answer.body[RTMSG.size :])
    if kind != RTN_UNICAST or table == RT_TABLE_LOCAL or index not in _hops(parts):
        return ""
    octets = parts.get(RTA_DST, b"")
    if len(octets) not in (4, 16):
        return "default"
    address = ipaddress.ip_address(octets)
    if address.version == 6 and (address.is_link_local or address.is_multicast):
        return ""
    return f"{address}/{bits}"


def _hops(parts: dict[int, bytes]) -> Iterator[int]:
    """The interfaces of a route: one, or those of its next hops."""
    (index,) = struct.unpack("=i", parts.get(RTA_OIF, b"\0\0\0\0"))
    yield index
    hops = parts.get(RTA_MULTIPATH, b"")
    start = 0
    while start + NEXTHOP.size <= len(hops):
        length, _, _, index = NEXTHOP.unpack_from(hops, start)
        yield index
        start += max(NEXTHOP.size, length + -length % 4)
