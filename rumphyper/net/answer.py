"""What the halves of the small station share: answers, neighbours, UDP echo."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs
from typing_extensions import Buffer

from rumphyper.net.mac import is_group
from rumphyper.net.udp import Udp

Address = IPv4Address | IPv6Address
ECHO_PORT = 7
UNANSWERED_PORTS = frozenset((0, ECHO_PORT, 13, 17, 19, 37))
"""Source ports of services that answer any datagram (echo, daytime, quote of
the day, chargen, time): two such services would answer each other for ever."""

NEIGHBORS = 256
"""How many neighbours are remembered; the one learnt first goes first."""


@attrs.frozen
class Answer:
    """One packet to send: ``kind`` is its name in `Stack.answered`."""

    kind: str
    destination: bytes
    ethertype: int
    payload: bytes


@attrs.define(eq=False)
class Neighbors:
    """Ethernet addresses learnt from ARP and neighbour discovery, by IP address."""

    table: dict[Address, bytes] = attrs.field(factory=dict)

    def learn(self, address: Address, mac: bytes) -> None:
        """Remember that ``address`` is at ``mac``, unless that is no station's."""
        if is_group(mac) or not any(mac):
            return
        if address not in self.table and len(self.table) >= NEIGHBORS:
            del self.table[next(iter(self.table))]
        self.table[address] = mac

    def get(self, address: Address) -> bytes | None:
        """The Ethernet address of ``address``, if it has been learnt."""
        return self.table.get(address)


def udp_answer(data: Buffer, source: Address, destination: Address) -> bytes | None:
    """Return the datagram that UDP echo (RFC 862) sends back, if any.

    Raises ParseError for a malformed question.
    """
    question = Udp.parse(data, source, destination)
    if question.destination_port != ECHO_PORT:
        return None
    if question.source_port in UNANSWERED_PORTS:
        return None
    answer = Udp(ECHO_PORT, question.source_port, question.payload)
    return answer.build(destination, source)
