"""IPv4 packets (RFC 791)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.checksum import checksum
from rumphyper.net.errors import ParseError, need

ICMP = 1
TCP = 6
UDP = 17
DONT_FRAGMENT = 2
MORE_FRAGMENTS = 1
_HEADER = struct.Struct(">BBHHHBBH4s4s")


@attrs.frozen
class IPv4:
    """One packet; ``flags`` are 3 bits, ``fragment_offset`` is in octets."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes = b""
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    flags: int = DONT_FRAGMENT
    fragment_offset: int = 0
    options: bytes = b""

    @classmethod
    def parse(cls, buffer: Buffer, verify: bool = True) -> Self:
        """Take a packet apart; octets behind its total length are padding.

        ``verify`` false leaves the header's checksum unread. Raises ParseError.
        """
        data = bytes(buffer)
        need(data, _HEADER.size, "IPv4 packet")
        fields = _HEADER.unpack_from(data)
        first, tos, total, ident, fragment, ttl, protocol = fields[:7]
        size = (first & 15) * 4
        if first >> 4 != 4:
            raise ParseError("IPv4 packet", f"version is {first >> 4}")
        if size < _HEADER.size:
            raise ParseError("IPv4 packet", f"header length is {size} octets")
        if not size <= total <= len(data):
            raise ParseError(
                "IPv4 packet",
                f"total length is {total}, header {size}, octets there {len(data)}",
            )
        if verify and checksum(data[:size]):
            raise ParseError("IPv4 packet", "the header's checksum is wrong")
        return cls(
            IPv4Address(fields[8]), IPv4Address(fields[9]), protocol, data[size:total],
            ttl, tos, ident, fragment >> 13, (fragment & 0x1FFF) * 8,
            data[_HEADER.size : size],
        )  # fmt: skip

    def build(self) -> bytes:
        """Return header with checksum, and payload.

        ``options`` must fill whole words of 4 octets, 40 octets at most.
        """
        size = _HEADER.size + len(self.options)
        head = _HEADER.pack(
            0x40 | size // 4, self.tos, size + len(self.payload), self.identification,
            self.flags << 13 | self.fragment_offset // 8, self.ttl, self.protocol, 0,
            self.source.packed, self.destination.packed,
        ) + self.options  # fmt: skip
        total = checksum(head).to_bytes(2, "big")
        return head[:10] + total + head[12:] + self.payload

    @property
    def is_fragment(self) -> bool:
        """Whether this is a part of a packet only."""
        return bool(self.flags & MORE_FRAGMENTS or self.fragment_offset)
