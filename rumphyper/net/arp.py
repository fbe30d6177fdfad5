"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.errors import ParseError, need

REQUEST = 1
REPLY = 2
_HEADER = struct.Struct(">HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)


@attrs.frozen
class Arp:
    """One ARP packet; the target's MAC is zero where it is being asked for."""

    operation: int
    sender_mac: bytes
    sender_ip: IPv4Address
    target_mac: bytes
    target_ip: IPv4Address

    @classmethod
    def parse(cls, buffer: Buffer) -> Self:
        """Take a packet apart, padding ignored. Raises ParseError."""
        data = bytes(buffer)
        need(data, _HEADER.size, "ARP packet")
        fields = _HEADER.unpack_from(data)
        if fields[:4] != _ETHERNET_IPV4:
            raise ParseError(
                "ARP packet",
                "hardware, protocol and lengths are "
                f"{fields[0]}, {fields[1]:#06x}, {fields[2]}, {fields[3]}, "
                "not Ethernet and IPv4's 1, 0x0800, 6, 4",
            )
        return cls(
            fields[4], fields[5], IPv4Address(fields[6]), fields[7],
            IPv4Address(fields[8]),
        )  # fmt: skip

    def build(self) -> bytes:
        """Return the packet's 28 octets."""
        return _HEADER.pack(
            *_ETHERNET_IPV4, self.operation, self.sender_mac, self.sender_ip.packed,
            self.target_mac, self.target_ip.packed,
        )  # fmt: skip
