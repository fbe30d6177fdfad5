"""ICMP (RFC 792) and ICMPv6 (RFC 4443): the envelope, and echo inside it."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.net.errors import ParseError, need
from rumphyper.net.ipv6 import ICMPV6

ECHO_REPLY = 0
ECHO_REQUEST = 8
ECHO_REQUEST_V6 = 128
ECHO_REPLY_V6 = 129
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136


@attrs.frozen
class Icmp:
    """One ICMP message; ``body`` is all behind the checksum."""

    kind: int
    code: int
    body: bytes

    @classmethod
    def parse(cls, buffer: Buffer, verify: bool = True) -> Self:
        """Take a message apart; ParseError when short or the checksum is wrong."""
        data = bytes(buffer)
        need(data, 8, "ICMP message")
        if verify and checksum(data):
            raise ParseError("ICMP message", "the checksum is wrong")
        return cls(data[0], data[1], data[4:])

    def build(self) -> bytes:
        """Return the message with its checksum."""
        head = bytes((self.kind, self.code))
        total = checksum(head + b"\0\0" + self.body)
        return head + total.to_bytes(2, "big") + self.body


@attrs.frozen
class Icmp6:
    """One ICMPv6 message; its checksum also covers the IPv6 addresses."""

    kind: int
    code: int
    body: bytes

    @classmethod
    def parse(
        cls, buffer: Buffer, source: IPv6Address, destination: IPv6Address
    ) -> Self:
        """Take a message apart; ParseError when short or the checksum is wrong."""
        data = bytes(buffer)
        need(data, 8, "ICMPv6 message")
        if checksum(_pseudo(source, destination, data) + data):
            raise ParseError("ICMPv6 message", "the checksum is wrong")
        return cls(data[0], data[1], data[4:])

    def build(self, source: IPv6Address, destination: IPv6Address) -> bytes:
        """Return the message with its checksum."""
        data = bytes((self.kind, self.code, 0, 0)) + self.body
        total = checksum(_pseudo(source, destination, data) + data)
        return data[:2] + total.to_bytes(2, "big") + self.body


def _pseudo(source: IPv6Address, destination: IPv6Address, data: bytes) -> bytes:
    return pseudo_header(source.packed, destination.packed, ICMPV6, len(data))


@attrs.frozen
class Echo:
    """The body of an echo request or reply, the same in both versions."""

    identifier: int
    sequence: int
    payload: bytes = b""

    @classmethod
    def parse(cls, body: Buffer) -> Self:
        """Take a body apart; ParseError when it has less than 4 octets."""
        data = bytes(body)
        need(data, 4, "ICMP echo")
        identifier, sequence = struct.unpack_from(">HH", data)
        return cls(identifier, sequence, data[4:])

    def build(self) -> bytes:
        """Return the body's octets."""
        return struct.pack(">HH", self.identifier, self.sequence) + self.payload
