"""The frames of a ping: who has the address, echo request, echo reply."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs
from typing_extensions import Buffer

from rumphyper.net import arp, ethernet, icmp, ipv4, ipv6, nd
from rumphyper.net.answer import Address
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.icmp import Echo, Icmp, Icmp6
from rumphyper.net.mac import BROADCAST


@attrs.frozen
class EchoReply:
    """An echo reply with what its IP header says."""

    source: Address
    destination: Address
    ttl: int
    echo: Echo


def who_has(mac: bytes, source: Address, target: Address) -> bytes:
    """Return the frame that asks for ``target``'s Ethernet address.

    An ARP request or a neighbour solicitation from the station ``mac``.
    ``source`` and ``target`` are of one version.
    """
    if isinstance(target, IPv4Address) and isinstance(source, IPv4Address):
        question = arp.Arp(arp.REQUEST, mac, source, bytes(6), target)
        return Ethernet(BROADCAST, mac, ethernet.ARP, question.build()).build()
    assert isinstance(target, IPv6Address)
    option = nd.NdOption(nd.SOURCE_LINK_ADDRESS, mac)
    body = nd.Neighbor(target, 0, (option,)).build()
    message = Icmp6(icmp.NEIGHBOR_SOLICITATION, 0, body)
    group = ipv6.solicited_node(target)
    group_mac = ipv6.multicast_mac(group)
    return _frame6(message, mac, source, group_mac, group, 255)


def echo_request(
    mac: bytes, source: Address, target_mac: bytes, target: Address, echo: Echo
) -> bytes:
    """Return the frame that carries ``echo`` from the station to ``target``."""
    if isinstance(target, IPv4Address) and isinstance(source, IPv4Address):
        data = Icmp(icmp.ECHO_REQUEST, 0, echo.build()).build()
        packet = ipv4.IPv4(source, target, ipv4.ICMP, data)
        return Ethernet(target_mac, mac, ethernet.IPV4, packet.build()).build()
    message = Icmp6(icmp.ECHO_REQUEST_V6, 0, echo.build())
    return _frame6(message, mac, source, target_mac, target, 64)


def _frame6(
    message: Icmp6,
    mac: bytes,
    source: Address,
    target_mac: bytes,
    target: Address,
    hops: int,
) -> bytes:
    assert isinstance(source, IPv6Address)
    assert isinstance(target, IPv6Address)
    data = message.build(source, target)
    packet = ipv6.IPv6(source, target, ipv6.ICMPV6, data, hops)
    return Ethernet(target_mac, mac, ethernet.IPV6, packet.build()).build()


def echo_reply(frame: Buffer, mac: bytes) -> EchoReply | None:
    """Return the echo reply in a frame for the station ``mac``, if it is one.

    Raises ParseError for a malformed frame.
    """
    outer = Ethernet.parse(frame)
    if outer.destination != mac or outer.tags:
        return None
    if outer.ethertype == ethernet.IPV4:
        return _reply4(ipv4.IPv4.parse(outer.payload))
    if outer.ethertype == ethernet.IPV6:
        return _reply6(ipv6.IPv6.parse(outer.payload))
    return None


def _reply4(packet: ipv4.IPv4) -> EchoReply | None:
    if packet.protocol != ipv4.ICMP or packet.is_fragment:
        return None
    message = Icmp.parse(packet.payload)
    if message.kind != icmp.ECHO_REPLY or message.code:
        return None
    echo = Echo.parse(message.body)
    return EchoReply(packet.source, packet.destination, packet.ttl, echo)


def _reply6(packet: ipv6.IPv6) -> EchoReply | None:
    kind, data = packet.upper_layer()
    if kind != ipv6.ICMPV6:
        return None
    message = Icmp6.parse(data, packet.source, packet.destination)
    if message.kind != icmp.ECHO_REPLY_V6 or message.code:
        return None
    echo = Echo.parse(message.body)
    return EchoReply(packet.source, packet.destination, packet.hop_limit, echo)
