"""Neighbour discovery's solicitation and advertisement (RFC 4861, 4.3, 4.4)."""

from __future__ import annotations

from ipaddress import IPv6Address

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.errors import ParseError, need

SOURCE_LINK_ADDRESS = 1
TARGET_LINK_ADDRESS = 2
ROUTER = 0x80000000
SOLICITED = 0x40000000
OVERRIDE = 0x20000000


@attrs.frozen
class NdOption:
    """One option; type, length and ``data`` fill whole units of 8 octets."""

    kind: int
    data: bytes

    def build(self) -> bytes:
        """Return the option, filled up with zeros to a multiple of 8 octets."""
        units = (len(self.data) + 9) // 8
        return bytes((self.kind, units)) + self.data.ljust(units * 8 - 2, b"\0")


def parse_options(data: bytes) -> tuple[NdOption, ...]:
    """Return the options in ``data``. Raises ParseError for a length of 0, too."""
    options = []
    at = 0
    while at < len(data):
        size = data[at + 1] * 8 if at + 1 < len(data) else 0
        if not 8 <= size <= len(data) - at:
            raise ParseError(
                "neighbour discovery option",
                f"length is {size} octets, {len(data) - at} are there",
            )
        options.append(NdOption(data[at], data[at + 2 : at + size]))
        at += size
    return tuple(options)


@attrs.frozen
class Neighbor:
    """The body of a solicitation (``flags`` 0) or an advertisement."""

    target: IPv6Address
    flags: int = 0
    options: tuple[NdOption, ...] = ()

    @classmethod
    def parse(cls, body: Buffer) -> Self:
        """Take an ICMPv6 message's body apart. Raises ParseError.

        A multicast target is refused here: no message may have one.
        """
        data = bytes(body)
        need(data, 20, "neighbour discovery message")
        target = IPv6Address(data[4:20])
        if target.is_multicast:
            raise ParseError(
                "neighbour discovery message", f"the target {target} is multicast"
            )
        return cls(target, int.from_bytes(data[:4], "big"), parse_options(data[20:]))

    def build(self) -> bytes:
        """Return the body's octets."""
        options = b"".join(option.build() for option in self.options)
        return self.flags.to_bytes(4, "big") + self.target.packed + options

    def link_address(self, kind: int) -> bytes | None:
        """Return the Ethernet address in the first option ``kind``, if any."""
        for option in self.options:
            if option.kind == kind:
                return option.data[:6]
        return None
