"""The IPv6 half of the small station: solicitations, ICMPv6 echo, UDP echo."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Interface

from rumphyper.net import ethernet, icmp, ipv6, nd
from rumphyper.net.answer import Answer, Neighbors, udp_answer
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.icmp import Icmp6
from rumphyper.net.ipv4 import UDP
from rumphyper.net.ipv6 import ALL_NODES, ICMPV6, UNSPECIFIED, IPv6
from rumphyper.net.nd import NdOption, Neighbor


class Host6:
    """Answers what comes for ``interfaces``; every method raises ParseError."""

    def __init__(
        self,
        mac: bytes,
        interfaces: Sequence[IPv6Interface],
        neighbors: Neighbors,
        udp_echo: bool,
    ) -> None:
        self.mac = mac
        self.neighbors = neighbors
        self.udp_echo = udp_echo
        self.interfaces = tuple(interfaces)
        # through the octets: an address with a scope (%eth0) equals no other
        self.own = frozenset(IPv6Address(entry.ip.packed) for entry in interfaces)
        self.groups = frozenset(map(ipv6.solicited_node, self.own)) | {ALL_NODES}
        self.macs = frozenset(map(ipv6.multicast_mac, self.groups)) | {mac}

    def input(self, outer: Ethernet) -> Answer | None:
        """Answer a solicitation, an echo request or a datagram for port 7."""
        if outer.destination not in self.macs:
            return None
        packet = IPv6.parse(outer.payload)
        unicast = packet.destination in self.own
        if not unicast and packet.destination not in self.groups:
            return None
        if packet.source.is_multicast or packet.source in self.own:
            return None
        if packet.source.is_loopback:
            return None
        protocol, data = packet.upper_layer()
        if protocol == ICMPV6:
            return self._icmp(packet, data, outer)
        if protocol == UDP and self.udp_echo and unicast:
            if packet.source == UNSPECIFIED or outer.destination != self.mac:
                return None
            payload = udp_answer(data, packet.source, packet.destination)
            if payload is not None:
                return self._answer("udp", packet, UDP, payload, outer.source)
        return None

    def _icmp(self, packet: IPv6, data: bytes, outer: Ethernet) -> Answer | None:
        message = Icmp6.parse(data, packet.source, packet.destination)
        if message.kind == icmp.ECHO_REQUEST_V6 and not message.code:
            if packet.source == UNSPECIFIED:
                return None
            reply = Icmp6(icmp.ECHO_REPLY_V6, 0, message.body)
            source = self.source_for(packet.source, packet.destination)
            payload = reply.build(source, packet.source)
            return self._answer("icmp6", packet, ICMPV6, payload, outer.source, source)
        # Only a neighbour can send with 255: routers count down (RFC 4861, 7.1)
        if packet.hop_limit != 255 or message.code:
            return None
        if message.kind == icmp.NEIGHBOR_SOLICITATION:
            return self._solicited(packet, Neighbor.parse(message.body), outer)
        if message.kind == icmp.NEIGHBOR_ADVERTISEMENT:
            self._advertised(packet, Neighbor.parse(message.body))
        return None

    def _solicited(
        self, packet: IPv6, question: Neighbor, outer: Ethernet
    ) -> Answer | None:
        mac = question.link_address(nd.SOURCE_LINK_ADDRESS)
        target = question.target
        flags, destination = nd.SOLICITED | nd.OVERRIDE, packet.source
        if packet.source == UNSPECIFIED:  # somebody asks if it may have the address
            if mac or packet.destination != ipv6.solicited_node(target):
                return None
            flags, destination, mac = nd.OVERRIDE, ALL_NODES, None
        if target not in self.own:
            return None
        if mac:
            self.neighbors.learn(packet.source, mac)
        elif destination == ALL_NODES:
            mac = ipv6.multicast_mac(ALL_NODES)
        option = NdOption(nd.TARGET_LINK_ADDRESS, self.mac)
        body = Neighbor(target, flags, (option,)).build()
        message = Icmp6(icmp.NEIGHBOR_ADVERTISEMENT, 0, body)
        reply = IPv6(
            target, destination, ICMPV6, message.build(target, destination), 255
        )
        return Answer("nd", mac or outer.source, ethernet.IPV6, reply.build())

    def _advertised(self, packet: IPv6, news: Neighbor) -> None:
        mac = news.link_address(nd.TARGET_LINK_ADDRESS)
        solicited = bool(news.flags & nd.SOLICITED)
        if not mac or news.target in self.own:
            return
        if packet.destination.is_multicast and solicited:
            return
        # RFC 4861, 7.2.5: a new neighbour must have been asked for, and one that
        # is known changes only when the sender says so
        known = self.neighbors.get(news.target) is not None
        if news.flags & nd.OVERRIDE if known else solicited:
            self.neighbors.learn(news.target, mac)

    def source_for(self, peer: IPv6Address, asked: IPv6Address) -> IPv6Address:
        """The own address to answer ``peer`` from: ``asked`` if it is one."""
        if asked in self.own:
            return asked
        for entry in self.interfaces:
            if peer in entry.network:
                return IPv6Address(entry.ip.packed)
        return IPv6Address(self.interfaces[0].ip.packed)

    def _answer(
        self,
        kind: str,
        packet: IPv6,
        protocol: int,
        payload: bytes,
        mac: bytes,
        source: IPv6Address | None = None,
    ) -> Answer:
        own = packet.destination if source is None else source
        reply = IPv6(own, packet.source, protocol, payload)
        return Answer(kind, mac, ethernet.IPV6, reply.build())
