"""Frames with numbers: how they are laid out, made, and read. No I/O.

Each is UDP over IPv4, without a UDP checksum (0: there is none, RFC 768), so
that a number can be put in without summing up anew. The payload starts with 16
octets, big endian: three that say what it is, the kind, the stream's 32 bits
that tell one sender from another, and the frame's number, from 0 on.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence

import attrs

from rumphyper.errors import FrameError, LinkstrError
from rumphyper.gen.flows import Flow
from rumphyper.net import ethernet, udp
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.ipv4 import IPv4

MAGIC = b"rhg"
MARK = struct.Struct(">3sBIQ")
NUMBER = 8
"""Octets of the number, the last ones of the mark."""

PLACE = 14 + 20 + 8
"""Where the mark is in a frame without VLAN tags."""

LEAST = PLACE + MARK.size
"""The shortest frame that holds a number."""

SHORTEST = PLACE
"""The shortest frame at all that is made here."""

MOST_OCTETS = 1 << 26
"""Octets of all flows' frames together, which are kept."""


class Kind(enum.IntEnum):
    """What a frame is for."""

    DATA = 0
    END = 1
    """Its number is that of the frames that went before it: the stream is over."""

    REQUEST = 2
    REPLY = 3


@attrs.frozen
class Ends:
    """The Ethernet addresses of frames."""

    source: bytes
    target: bytes


def base(ends: Ends, flow: Flow, length: int) -> bytes:
    """A frame of ``length`` octets (without FCS) whose payload is all zero."""
    room = length - PLACE
    head = struct.pack(">HHHH", flow.source_port, flow.target_port, 8 + room, 0)
    packet = IPv4(flow.source, flow.target, udp.PROTOCOL, head + bytes(room))
    body = packet.build()
    return Ethernet(ends.target, ends.source, ethernet.IPV4, body).build()


class Numbered:
    """Makes frames with consecutive numbers, flow after flow.

    ``length`` is in octets without FCS. Raises FrameError for lengths that do
    not hold a number, LinkstrError for flows that take too much memory.
    """

    def __init__(
        self,
        ends: Ends,
        flows: Sequence[Flow],
        length: int,
        stream: int,
        kind: Kind = Kind.DATA,
    ) -> None:
        check_length(length, LEAST)
        if len(flows) * length > MOST_OCTETS:
            cause = f"{len(flows)} flows of {length} octets are kept at once"
            raise LinkstrError("gen", cause, f"at most {MOST_OCTETS} octets together")
        self.length = length
        self.stream = stream
        self.next = 0
        """The number of the next frame."""

        self._kind = kind
        self._bases = [self._mark(base(ends, flow, length), kind, 0) for flow in flows]

    def _mark(self, frame: bytes, kind: Kind, number: int) -> bytes:
        mark = MARK.pack(MAGIC, kind, self.stream, number)
        return frame[:PLACE] + mark + frame[LEAST:]

    def take(self, count: int) -> Sequence[bytes]:
        """The next ``count`` frames."""
        first, size = self.next, self.length
        self.next += count
        octets = bytearray(self._row(first, count))
        numbers = struct.pack(f">{count}Q", *range(first, first + count))
        # Column by column: the first octet of all numbers, the second, ... Most
        # of them are zero, as the frames have it already.
        used = max(1, (self.next.bit_length() + 7) // 8)
        for column in range(NUMBER - used, NUMBER):
            octets[LEAST - NUMBER + column :: size] = numbers[column::NUMBER]
        return struct.unpack(f"{size}s" * count, octets)

    def _row(self, first: int, count: int) -> bytes:
        """The octets of so many frames, without their numbers."""
        bases = self._bases
        if len(bases) == 1:
            return bases[0] * count
        at = first % len(bases)
        row = bases[at : at + count]
        while len(row) < count:
            row += bases[: count - len(row)]
        return b"".join(row)

    def end(self) -> bytes:
        """The frame that says how many there were."""
        return self._mark(self._bases[0], Kind.END, self.next)


def check_length(length: int, least: int) -> None:
    """Raise FrameError for a length of frames that cannot be."""
    if length < least:
        remedy = "make them longer"
        if length >= SHORTEST:
            remedy = "make them longer, or send them --unnumbered"
        cause = f"frames of {length} octets are too short, {least} is the least"
        raise FrameError("gen", cause, remedy)


@attrs.frozen
class Mark:
    """What a frame says of itself."""

    kind: int
    stream: int
    number: int
    place: int
    """Where in the frame the mark is."""


def read_mark(frame: bytes) -> Mark | None:
    """The mark of a frame, with a VLAN tag or without; None where there is none."""
    place = PLACE
    while frame[place - 30 : place - 28] in (b"\x81\x00", b"\x88\xa8"):
        place += 4
    if frame[place : place + 3] != MAGIC or len(frame) < place + MARK.size:
        return None
    _, kind, stream, number = MARK.unpack_from(frame, place)
    return Mark(kind, stream, number, place)


def read_alike(frames: Sequence[bytes]) -> tuple[int, Sequence[int]] | None:
    """The stream and the numbers of data frames that are all of one stream.

    None where they are not, or have tags: `read_mark` takes them one by one.
    """
    marks = b"".join([frame[PLACE:LEAST] for frame in frames])
    count = len(frames)
    if len(marks) != MARK.size * count:
        return None
    words = struct.unpack(f">{2 * count}Q", marks)
    first = words[0]
    if first >> 32 != DATA_WORD or words[::2].count(first) != count:
        return None
    return first & 0xFFFFFFFF, words[1::2]


DATA_WORD = int.from_bytes(MAGIC + bytes([Kind.DATA]), "big")
"""The first half of the first word of a data frame's mark."""
