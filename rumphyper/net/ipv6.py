"""IPv6 packets (RFC 8200) and the addresses that the link derives (RFC 4291)."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.errors import ParseError, need

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
ICMPV6 = 58
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60
UNSPECIFIED = IPv6Address("::")
ALL_NODES = IPv6Address("ff02::1")
_HEADER = struct.Struct(">IHBB16s16s")
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]


@attrs.frozen
class IPv6:
    """One packet; ``payload`` starts with the header that next_header names."""

    source: IPv6Address
    destination: IPv6Address
    next_header: int
    payload: bytes = b""
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0

    @classmethod
    def parse(cls, buffer: Buffer) -> Self:
        """Take a packet apart; octets behind its length are padding.

        Raises ParseError.
        """
        data = bytes(buffer)
        need(data, _HEADER.size, "IPv6 packet")
        first, length, following, hops, source, destination = _HEADER.unpack_from(data)
        if first >> 28 != 6:
            raise ParseError("IPv6 packet", f"version is {first >> 28}")
        end = _HEADER.size + length
        if end > len(data):
            raise ParseError(
                "IPv6 packet",
                f"payload length is {length}, octets there {len(data) - _HEADER.size}",
            )
        return cls(
            IPv6Address(source), IPv6Address(destination), following,
            data[_HEADER.size : end], hops, first >> 20 & 0xFF, first & 0xFFFFF,
        )  # fmt: skip

    def build(self) -> bytes:
        """Return header and payload."""
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return _HEADER.pack(
            first, len(self.payload), self.next_header, self.hop_limit,
            self.source.packed, self.destination.packed,
        ) + self.payload  # fmt: skip

    def upper_layer(self) -> tuple[int, bytes]:
        """Return the first header that is no option header, and what it starts.

        Hop-by-hop and destination options are stepped over as long as each may
        be skipped by who does not know it (RFC 8200, 4.2). Fragment and routing
        headers are returned as they stand. Raises ParseError.
        """
        kind, data = self.next_header, self.payload
        while kind in (HOP_BY_HOP, DESTINATION_OPTIONS):
            need(data, 8, "IPv6 options header")
            size = 8 + data[1] * 8
            need(data, size, "IPv6 options header")
            _check_options(data[2:size])
            kind, data = data[0], data[size:]
        return kind, data


def _check_options(data: bytes) -> None:
    """Raise ParseError unless every option is whole and may be skipped."""
    at = 0
    while at < len(data):
        if data[at] == 0:  # Pad1 has no length octet
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            raise ParseError("IPv6 option", f"runs past its header at octet {at}")
        if data[at] & 0xC0:
            raise ParseError("IPv6 option", f"type {data[at]:#04x} must not be skipped")
        at += 2 + data[at + 1]


def link_local(mac: bytes) -> IPv6Address:
    """Return fe80::/64 with the modified EUI-64 of ``mac`` (RFC 4291, A)."""
    host = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + host)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """Return the multicast address that asks for ``address`` go to."""
    return IPv6Address(_SOLICITED_NODE + address.packed[13:])


def multicast_mac(address: IPv6Address) -> bytes:
    """Return the Ethernet address of an IPv6 multicast one (RFC 2464, 7)."""
    return b"\x33\x33" + address.packed[12:]
