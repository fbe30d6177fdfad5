"""What the kernel's interfaces and routes are at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING

import attrs

from rumphyper.kernel.control import routing_table
from rumphyper.kernel.ioctls import IFF_FLAGS, IFF_UP
from rumphyper.kernel.netaddr import (
    AF_INET,
    AF_INET6,
    Address,
    LinkAddress,
    parse,
    parse_mask,
)
from rumphyper.kernel.rtsock import (
    NET_RT_DUMP,
    NET_RT_IFLIST,
    RTF_BROADCAST,
    RTF_HOST,
    RTF_LLDATA,
    RTF_LOCAL,
    IfAddress,
    IfInfo,
    RouteEntry,
)
from rumphyper.net.mac import format_mac

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

InterfaceAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


@attrs.frozen
class InterfaceCounters:
    """What an interface has carried since it was created: frames and octets."""

    received: int
    received_bytes: int
    receive_errors: int
    sent: int
    sent_bytes: int
    send_errors: int
    dropped: int
    """Received, and then lost for lack of room in NetBSD's queues."""


@attrs.frozen
class InterfaceState:
    """One interface, as ifconfig(8) would show it."""

    name: str
    index: int
    flags: int
    mac: bytes
    """6 octets, or empty (lo0)."""

    mtu: int
    addresses: tuple[InterfaceAddress, ...]
    counters: InterfaceCounters

    @property
    def is_up(self) -> bool:
        return bool(self.flags & IFF_UP)

    @property
    def flag_names(self) -> tuple[str, ...]:
        return tuple(name for bit, name in IFF_FLAGS.items() if self.flags & bit)

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "name": self.name,
            "flags": list(self.flag_names),
            "mac": format_mac(self.mac) if self.mac else None,
            "mtu": self.mtu,
            "addresses": [str(address) for address in self.addresses],
            "counters": attrs.asdict(self.counters),
        }


@attrs.frozen
class Route:
    """One route to a network, or to a host (a network of one address)."""

    destination: Network
    gateway: Address | None
    """None for a network that the interface is on."""

    interface: str
    flags: int
    """RTF_* of NetBSD's net/route.h."""


def interface_states(kernel: Kernel, index: int = 0) -> list[InterfaceState]:
    """All interfaces in the kernel's order, or the one with that index."""
    found: dict[int, tuple[IfInfo, list[InterfaceAddress]]] = {}
    for message in routing_table(kernel, NET_RT_IFLIST, index):
        if isinstance(message, IfInfo):
            found[message.index] = message, []
        elif isinstance(message, IfAddress) and message.index in found:
            address = _interface_address(message.addresses)
            if address is not None:
                found[message.index][1].append(address)
    return [_state(info, addresses) for info, addresses in found.values()]


def _state(info: IfInfo, addresses: list[InterfaceAddress]) -> InterfaceState:
    link = parse(info.addresses.get("ifp", b""))
    assert isinstance(link, LinkAddress)
    data = info.data
    return InterfaceState(
        name=link.name,
        index=info.index,
        flags=info.flags & 0xFFFF,
        mac=link.mac,
        mtu=data["mtu"],
        addresses=tuple(addresses),
        counters=InterfaceCounters(
            received=data["ipackets"],
            received_bytes=data["ibytes"],
            receive_errors=data["ierrors"],
            sent=data["opackets"],
            sent_bytes=data["obytes"],
            send_errors=data["oerrors"],
            dropped=data["iqdrops"],
        ),
    )


def _interface_address(addresses: Mapping[str, bytes]) -> InterfaceAddress | None:
    address = parse(addresses.get("ifa", b""))
    mask = addresses.get("netmask", b"")
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, parse_mask(mask, AF_INET)))
    if isinstance(address, IPv6Address):
        return IPv6Interface((address, parse_mask(mask, AF_INET6)))
    return None


HIDDEN = RTF_LLDATA | RTF_LOCAL | RTF_BROADCAST
"""Neighbours and own addresses: not what `routes` is asked for."""


def all_routes(kernel: Kernel, hidden: bool = False) -> list[Route]:
    """The routing table; ``hidden`` entries too: neighbours and own addresses."""
    names = {state.index: state.name for state in interface_states(kernel)}
    found = []
    for message in routing_table(kernel, NET_RT_DUMP):
        if not isinstance(message, RouteEntry):
            continue
        if message.flags & HIDDEN and not hidden:
            continue
        destination = parse(message.addresses.get("dst", b""))
        if not isinstance(destination, (IPv4Address, IPv6Address)):
            continue
        length: int = destination.max_prefixlen
        if not message.flags & RTF_HOST:
            family = AF_INET if destination.version == 4 else AF_INET6
            length = parse_mask(message.addresses.get("netmask", b""), family)
        gateway = parse(message.addresses.get("gateway", b""))
        found.append(
            Route(
                destination=_network(destination, length),
                gateway=None if isinstance(gateway, LinkAddress) else gateway,
                interface=names.get(message.index, f"#{message.index}"),
                flags=message.flags,
            )
        )
    return found


def _network(address: Address, length: int) -> Network:
    if isinstance(address, IPv4Address):
        return IPv4Network((address, length), strict=False)
    return IPv6Network((address, length), strict=False)
