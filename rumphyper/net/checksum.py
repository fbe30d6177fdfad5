"""The Internet checksum (RFC 1071) and the pseudo headers it also covers."""

from __future__ import annotations

from typing_extensions import Buffer


def checksum(data: Buffer) -> int:
    """Return the 16-bit ones' complement checksum of ``data``.

    Over data that holds its right checksum the result is 0.
    """
    octets = bytes(data)
    if len(octets) % 2:
        octets += b"\0"
    # 65536 is 1 modulo 65535, so the whole as one number has the same residue
    # as the sum of its 16-bit words: one division in place of a loop.
    number = int.from_bytes(octets, "big")
    total = number % 0xFFFF
    if not total and number:
        total = 0xFFFF  # only all-zero data sums up to +0
    return 0xFFFF - total


def pseudo_header(
    source: bytes, destination: bytes, protocol: int, length: int
) -> bytes:
    """Return the pseudo header for UDP, TCP and ICMPv6.

    ``source`` and ``destination`` are packed addresses: 4 octets each for IPv4
    (RFC 768), 16 for IPv6 (RFC 8200, 8.1). ``length`` is that of the upper
    layer's header and payload in octets.
    """
    if len(source) == 4:
        tail = bytes((0, protocol)) + length.to_bytes(2, "big")
    else:
        tail = length.to_bytes(4, "big") + bytes((0, 0, 0, protocol))
    return source + destination + tail
