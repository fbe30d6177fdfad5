"""Ethernet II and IEEE 802.3 frames with IEEE 802.1Q tags, without FCS."""

from __future__ import annotations

import struct

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.errors import ParseError, need

IPV4 = 0x0800
ARP = 0x0806
IPV6 = 0x86DD
VLAN = 0x8100
PROVIDER_VLAN = 0x88A8
LENGTH_LIMIT = 1536
"""A type below this is not a type: at most 1500 it is an 802.3 length."""

_TAGS = (VLAN, PROVIDER_VLAN)


@attrs.frozen
class VlanTag:
    """One 802.1Q tag: ``tpid`` says which kind, ``tci`` holds the VLAN."""

    tci: int
    tpid: int = VLAN

    @property
    def vlan(self) -> int:
        """The VLAN's number, 0 to 4095."""
        return self.tci & 0xFFF

    @property
    def priority(self) -> int:
        """The priority code point, 0 to 7."""
        return self.tci >> 13

    @property
    def drop_eligible(self) -> bool:
        return bool(self.tci & 0x1000)


@attrs.frozen
class Ethernet:
    """One frame; ``ethertype`` is what follows the last of the ``tags``."""

    destination: bytes
    source: bytes
    ethertype: int
    payload: bytes = b""
    tags: tuple[VlanTag, ...] = ()

    @classmethod
    def parse(cls, buffer: Buffer) -> Self:
        """Take a frame apart; ParseError when it ends inside its header."""
        data = bytes(buffer)
        need(data, 14, "Ethernet frame")
        offset = 12
        kind = int.from_bytes(data[12:14], "big")
        tags = []
        while kind in _TAGS:
            if len(data) < offset + 6:
                raise ParseError("Ethernet frame", "cut off inside its VLAN tag")
            tci, following = struct.unpack_from(">HH", data, offset + 2)
            tags.append(VlanTag(tci, kind))
            kind = following
            offset += 4
        return cls(data[:6], data[6:12], kind, data[offset + 2 :], tuple(tags))

    def build(self) -> bytes:
        """Return the frame's octets; nothing is padded."""
        tags = b"".join(struct.pack(">HH", tag.tpid, tag.tci) for tag in self.tags)
        head = self.destination + self.source + tags
        return head + self.ethertype.to_bytes(2, "big") + self.payload
