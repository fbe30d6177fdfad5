"""The virtio-net header in front of a frame: what its maker left to hardware.

Facts: Linux include/uapi/linux/virtio_net.h, the virtio specification (5.1.6).
"""

from __future__ import annotations

import struct

from rumphyper.net.checksum import checksum

HEADER = struct.Struct("=BBHHHH")
"""struct virtio_net_hdr: flags, kind and sizes of segments, start and offset."""

NEEDS_CSUM = 1
NOTHING_LEFT = bytes(HEADER.size)
"""The header of a frame that is complete."""

ETHER_HEADER = 14


def place(flags: int, begin: int, offset: int, size: int) -> int:
    """Where the checksum of a frame of ``size`` octets is missing; 0 for nowhere.

    It covers the octets from ``begin`` on. A place outside of the frame, which
    no host should name, counts as nowhere.
    """
    at = begin + offset
    if flags & NEEDS_CSUM and begin >= ETHER_HEADER and at + 2 <= size:
        return at
    return 0


def complete(octets: bytes) -> bytes:
    """Take off the header and fill in what it says is missing.

    Octets that are too few for a header give an empty frame.
    """
    if len(octets) < HEADER.size:
        return b""
    flags, _, _, _, begin, offset = HEADER.unpack_from(octets)
    frame = octets[HEADER.size :]
    at = place(flags, begin, offset, len(frame))
    if not at:
        return frame
    # The field holds the pseudo header's sum, so it counts as data; 0 would
    # mean to UDP that there is none.
    value = checksum(frame[begin:]) or 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]
