"""The small station: answers ARP, pings, neighbour solicitations and UDP echo.

It does no input or output: frames go in, the frames to send in answer come
out. It answers nothing else, keeps no connection and forwards nothing; frames
that are malformed, tagged for a VLAN, fragments or not for it are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from typing_extensions import Buffer

from rumphyper.net import ethernet
from rumphyper.net.answer import Address, Neighbors
from rumphyper.net.errors import AddressError, ParseError
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.host4 import Host4
from rumphyper.net.host6 import Host6
from rumphyper.net.ipv6 import link_local, multicast_mac
from rumphyper.net.mac import BROADCAST, format_mac, is_group


class Stack:
    """One station with an Ethernet address and any number of IP addresses.

    Besides ``ipv6`` it has the link-local address that follows from ``mac``.
    ``answered`` counts the answers by kind: arp, icmp, nd, icmp6, udp.
    Raises AddressError for an address that no station can have.
    """

    def __init__(
        self,
        mac: bytes,
        ipv4: Sequence[IPv4Interface] = (),
        ipv6: Sequence[IPv6Interface] = (),
        udp_echo: bool = True,
    ) -> None:
        if len(mac) != 6 or is_group(mac):
            raise AddressError(
                f"Ethernet address {format_mac(mac)}", "not a single station's"
            )
        addresses: list[Address] = [*(i.ip for i in ipv4), *(i.ip for i in ipv6)]
        for address in addresses:
            if address.is_multicast or address.is_unspecified:
                raise AddressError(str(address), "not a single station's address")
        self.mac = mac
        self.link_local = link_local(mac)
        self.ipv4 = tuple(ipv4)
        self.ipv6 = (*ipv6, IPv6Interface((self.link_local, 64)))
        self.neighbors = Neighbors()
        self.answered = dict.fromkeys(("arp", "icmp", "nd", "icmp6", "udp"), 0)
        self._host4 = Host4(mac, self.ipv4, self.neighbors, udp_echo)
        self._host6 = Host6(mac, self.ipv6, self.neighbors, udp_echo)
        self._inputs = {
            ethernet.ARP: self._host4.arp,
            ethernet.IPV4: self._host4.input,
            ethernet.IPV6: self._host6.input,
        }

    def input(self, frame: Buffer) -> list[bytes]:
        """Take one frame; return the frames to send in answer (none or one).

        Never raises, whatever the frame holds.
        """
        try:
            outer = Ethernet.parse(frame)
            handler = self._inputs.get(outer.ethertype)
            if handler is None or outer.tags or is_group(outer.source):
                return []
            answer = handler(outer)
        except ParseError:
            return []
        if answer is None:
            return []
        self.answered[answer.kind] += 1
        reply = Ethernet(answer.destination, self.mac, answer.ethertype, answer.payload)
        return [reply.build()]

    def source_for(self, target: Address) -> Address:
        """Return the own address to speak to ``target`` from.

        The one in the target's network, else the first of its version; the
        link-local one for a link-local or link-wide target. AddressError when
        the station has no IPv4 address and the target is one.
        """
        if isinstance(target, IPv6Address):
            if target.is_link_local or target.is_multicast:
                return self.link_local
            return self._host6.source_for(target, target)
        return self._source4(target)

    def _source4(self, target: IPv4Address) -> IPv4Address:
        for interface in self.ipv4:
            if target in interface.network:
                return interface.ip
        if not self.ipv4:
            raise AddressError(
                str(target), "the station has no IPv4 address", "give it one"
            )
        return self.ipv4[0].ip

    def owns(self, address: Address) -> bool:
        """Whether ``address`` is one of the station's own."""
        return address in self._host4.own or address in self._host6.own

    def group_mac(self, target: Address) -> bytes | None:
        """Return where a broadcast or multicast packet goes; None for a station."""
        if isinstance(target, IPv6Address):
            return multicast_mac(target) if target.is_multicast else None
        if target in self._host4.broadcasts or target.packed == b"\xff" * 4:
            return BROADCAST
        if target.is_multicast:  # RFC 1112, 6.4: the low 23 bits
            low = target.packed
            return b"\x01\x00\x5e" + bytes((low[1] & 0x7F, low[2], low[3]))
        return None
