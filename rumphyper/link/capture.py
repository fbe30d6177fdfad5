"""What pcap and pcapng files have in common: records, octets, link types.

The formats are read from octets that come in pieces, so that the same code
reads whole files, pipes and files that still grow.
"""

from __future__ import annotations

import abc

import attrs

from rumphyper.errors import CorruptError, UnsupportedError

ETHERNET = 1
"""LINKTYPE_ETHERNET, the only link type that is carried (tcpdump.org's list)."""

LINK_TYPES = {
    0: "BSD loopback",
    9: "PPP",
    12: "raw IP",
    101: "raw IP",
    105: "IEEE 802.11",
    108: "OpenBSD loopback",
    113: "Linux cooked",
    127: "radiotap",
    189: "USB",
    220: "USB",
    228: "raw IPv4",
    229: "raw IPv6",
    249: "USBPcap",
    276: "Linux cooked v2",
}

SNAPLEN = 262_144
"""The longest frame that is written or read, in octets (as libpcap's limit)."""


@attrs.frozen
class Record:
    """One frame of a capture file.

    ``time_ns`` is in nanoseconds since 1970, 0 where the file has no time for
    it. ``length`` is the frame's in octets; ``data`` is shorter when it was cut.
    """

    time_ns: int
    data: bytes
    length: int

    @property
    def cut(self) -> bool:
        """Whether the capture kept only the start of the frame."""
        return len(self.data) < self.length


@attrs.define(eq=False)
class Octets:
    """The octets of one file as they come in, and how far they are read.

    ``name`` names the file in errors; ``base`` is the file offset of
    ``data[0]``, ``at`` the index in ``data`` that is read next.
    """

    name: str
    data: bytes = b""
    at: int = 0
    base: int = 0

    def feed(self, data: bytes) -> None:
        """Add octets that follow the ones so far."""
        self.base += self.at
        self.data = self.data[self.at :] + data
        self.at = 0

    @property
    def left(self) -> int:
        """How many octets are there and unread."""
        return len(self.data) - self.at

    @property
    def offset(self) -> int:
        """The file offset that is read next."""
        return self.base + self.at

    def corrupt(
        self, field: str, value: object, why: str, after: int = 0
    ) -> CorruptError:
        """Return the error for ``field``, found ``after`` octets further on."""
        return CorruptError(
            self.name,
            f"{field} at offset {self.offset + after} is {value}, {why}",
            "the file is damaged or of another kind",
        )

    def refuse_link_type(self, number: int) -> UnsupportedError:
        """Return the error for frames of another link type than Ethernet."""
        name = LINK_TYPES.get(number, "another kind of link")
        return UnsupportedError(
            self.name,
            f"its link type is {number} ({name}), only 1 (Ethernet) is carried",
            "capture on an Ethernet interface",
        )


class Decoder(abc.ABC):
    """Reads one format; holds its place before what it cannot read."""

    def __init__(self, octets: Octets) -> None:
        self.octets = octets
        self.started = False
        """Whether the file's own header has been read."""

    @abc.abstractmethod
    def pull(self) -> Record | None:
        """Return the next frame, or None when it needs more octets first.

        Raises CorruptError, and UnsupportedError for another link type; the
        next call raises it again.
        """

    @property
    @abc.abstractmethod
    def inside(self) -> str:
        """The name of the part that the octets break off in."""
