"""Frames whose sender left the checksum of TCP or UDP to the hardware.

Xen's back and front ends hand such frames over with a flag and nothing more, so
where the checksum belongs has to be found in the frame. Facts: RFC 791, 8200,
793, 768; Linux net/core/skbuff.c (skb_checksum_setup).
"""

from __future__ import annotations

from rumphyper.net.checksum import checksum, pseudo_header
from rumphyper.net.ethernet import IPV4, IPV6, PROVIDER_VLAN, VLAN
from rumphyper.net.ipv6 import DESTINATION_OPTIONS, HOP_BY_HOP, ROUTING

TCP, UDP = 6, 17
_PLACES = {TCP: 16, UDP: 6}
"""Where in their headers the checksum is."""


def fill_checksum(frame: bytes) -> bytes:
    """The frame with its checksum of TCP or UDP; any other as it is."""
    found = _transport(frame)
    if found is None:
        return frame
    protocol, source, destination, begin, end = found
    place = _PLACES.get(protocol, -1)
    if place < 0 or begin + place + 2 > end:
        return frame
    at = begin + place
    blank = frame[begin:at] + b"\0\0" + frame[at + 2 : end]
    head = pseudo_header(source, destination, protocol, end - begin)
    value = checksum(head + blank) or 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]


def _transport(frame: bytes) -> tuple[int, bytes, bytes, int, int] | None:
    """Protocol, addresses, begin and end of a whole IP packet's payload."""
    at = 12
    kind = int.from_bytes(frame[at : at + 2], "big")
    while kind in (VLAN, PROVIDER_VLAN):
        at += 4
        kind = int.from_bytes(frame[at : at + 2], "big")
    at += 2
    if kind == IPV4 and len(frame) >= at + 20:
        head = 4 * (frame[at] & 15)
        end = at + int.from_bytes(frame[at + 2 : at + 4], "big")
        fragment = int.from_bytes(frame[at + 6 : at + 8], "big") & 0x3FFF
        if head < 20 or fragment or not at + head <= end <= len(frame):
            return None
        addresses = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
        return frame[at + 9], *addresses, at + head, end
    if kind == IPV6 and len(frame) >= at + 40:
        end = at + 40 + int.from_bytes(frame[at + 4 : at + 6], "big")
        protocol, begin = frame[at + 6], at + 40
        while protocol in (HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS):
            if begin + 8 > len(frame):
                return None
            protocol, size = frame[begin], 8 * (frame[begin + 1] + 1)
            begin += size
        if not begin <= end <= len(frame):
            return None
        return protocol, frame[at + 8 : at + 24], frame[at + 24 : at + 40], begin, end
    return None
