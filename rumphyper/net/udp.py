"""UDP over IPv4 (RFC 768) and IPv6 (RFC 8200, 8.1)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.net.errors import ParseError, need

PROTOCOL = 17
_HEADER = struct.Struct(">HHHH")
Address = IPv4Address | IPv6Address


@attrs.frozen
class Udp:
    """One datagram."""

    source_port: int
    destination_port: int
    payload: bytes = b""

    @classmethod
    def parse(cls, buffer: Buffer, source: Address, destination: Address) -> Self:
        """Take a datagram apart; the addresses are part of its checksum.

        A checksum of 0 means none over IPv4 and is refused over IPv6.
        Raises ParseError.
        """
        data = bytes(buffer)
        need(data, _HEADER.size, "UDP datagram")
        sport, dport, length, total = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise ParseError(
                "UDP datagram", f"length is {length}, octets there {len(data)}"
            )
        data = data[:length]
        if total:
            pseudo = pseudo_header(source.packed, destination.packed, PROTOCOL, length)
            if checksum(pseudo + data):
                raise ParseError("UDP datagram", "the checksum is wrong")
        elif source.version == 6:
            raise ParseError("UDP datagram", "no checksum, which IPv6 asks for")
        return cls(sport, dport, data[_HEADER.size :])

    def build(self, source: Address, destination: Address) -> bytes:
        """Return the datagram with its checksum."""
        length = _HEADER.size + len(self.payload)
        ports = struct.pack(">HHH", self.source_port, self.destination_port, length)
        pseudo = pseudo_header(source.packed, destination.packed, PROTOCOL, length)
        total = checksum(pseudo + ports + b"\0\0" + self.payload)
        # 0 would say that there is none; its other spelling is 0xffff
        return ports + (total or 0xFFFF).to_bytes(2, "big") + self.payload
