"""The IPv4 half of the small station: ARP, ICMP echo, UDP echo."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface

from rumphyper.net import arp, ethernet, icmp, ipv4
from rumphyper.net.answer import Answer, Neighbors, udp_answer
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.icmp import Icmp
from rumphyper.net.ipv4 import IPv4
from rumphyper.net.mac import BROADCAST


class Host4:
    """Answers what comes for ``interfaces``; every method raises ParseError."""

    def __init__(
        self,
        mac: bytes,
        interfaces: Sequence[IPv4Interface],
        neighbors: Neighbors,
        udp_echo: bool,
    ) -> None:
        self.mac = mac
        self.neighbors = neighbors
        self.udp_echo = udp_echo
        self.own = frozenset(interface.ip for interface in interfaces)
        # RFC 3021: a network of two addresses has no broadcast address
        self.broadcasts = frozenset(
            interface.network.broadcast_address
            for interface in interfaces
            if interface.network.prefixlen < 31
        )

    def arp(self, outer: Ethernet) -> Answer | None:
        """Learn from an ARP packet and answer a request for an own address."""
        question = arp.Arp.parse(outer.payload)
        if outer.destination not in (self.mac, BROADCAST):
            return None
        if question.sender_mac == self.mac or question.sender_ip in self.own:
            return None  # our own frame come back, or somebody with our address
        to_us = question.target_ip in self.own
        known = self.neighbors.get(question.sender_ip) is not None
        # RFC 826: refresh what is known, add only who speaks to us. A probe
        # (RFC 5227) has the sender's address zero and teaches nothing.
        if (to_us or known) and self._may_send(question.sender_ip):
            self.neighbors.learn(question.sender_ip, question.sender_mac)
        if not to_us or question.operation != arp.REQUEST:
            return None
        answer = arp.Arp(
            arp.REPLY, self.mac, question.target_ip, question.sender_mac,
            question.sender_ip,
        )  # fmt: skip
        return Answer("arp", question.sender_mac, ethernet.ARP, answer.build())

    def input(self, outer: Ethernet) -> Answer | None:
        """Answer an ICMP echo request or a datagram for port 7."""
        # RFC 1122, 3.3.6: what came as a link broadcast is no unicast packet
        if outer.destination != self.mac:
            return None
        packet = IPv4.parse(outer.payload)
        if packet.destination not in self.own or packet.is_fragment:
            return None
        if not self._may_send(packet.source) or packet.source in self.own:
            return None
        if packet.protocol == ipv4.ICMP:
            kind, payload = "icmp", _icmp_answer(packet)
        elif packet.protocol == ipv4.UDP and self.udp_echo:
            kind = "udp"
            payload = udp_answer(packet.payload, packet.source, packet.destination)
        else:
            return None
        if payload is None:
            return None
        reply = IPv4(packet.destination, packet.source, packet.protocol, payload)
        return Answer(kind, outer.source, ethernet.IPV4, reply.build())

    def _may_send(self, address: IPv4Address) -> bool:
        """Whether ``address`` may be a sender's (RFC 1122, 3.2.1.3)."""
        return not (
            address.is_multicast
            or address.is_loopback
            or address.packed[0] in (0, 255)
            or address in self.broadcasts
        )


def _icmp_answer(packet: IPv4) -> bytes | None:
    message = Icmp.parse(packet.payload)
    if message.kind != icmp.ECHO_REQUEST or message.code:
        return None
    return Icmp(icmp.ECHO_REPLY, 0, message.body).build()
