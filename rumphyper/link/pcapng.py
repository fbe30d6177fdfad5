"""The pcapng format: sections of both byte orders, unknown blocks skipped.

Facts from draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct

import attrs

from rumphyper import __version__
from rumphyper.link.capture import ETHERNET, SNAPLEN, Decoder, Octets, Record

SECTION = 0x0A0D0D0A
INTERFACE = 1
PACKET = 2
SIMPLE_PACKET = 3
ENHANCED_PACKET = 6
BYTE_ORDER = 0x1A2B3C4D
BLOCK_LIMIT = 16 * 1024 * 1024
"""The longest block that is read, in octets (as Wireshark's limit)."""

_USER_APPLICATION = 4
_TIME_RESOLUTION = 9
_FCS_LENGTH = 13
_TIME_OFFSET = 14
_SMALLEST = {SECTION: 28, INTERFACE: 20, PACKET: 32, SIMPLE_PACKET: 16,
             ENHANCED_PACKET: 32}  # fmt: skip


def _block(kind: int, body: bytes) -> bytes:
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    head = struct.pack("<HH", code, len(value))
    return head + value + bytes(-len(value) % 4)


def header() -> bytes:
    """Return a section header and one Ethernet interface with nanoseconds."""
    name = f"rumphyper {__version__}".encode()
    section = struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1)
    section += _option(_USER_APPLICATION, name) + bytes(4)
    interface = struct.pack("<HHI", ETHERNET, 0, SNAPLEN)
    interface += _option(_TIME_RESOLUTION, b"\x09") + bytes(4)
    return _block(SECTION, section) + _block(INTERFACE, interface)


def encode(records: list[Record]) -> bytes:
    """Return the records as enhanced packet blocks of interface 0."""
    parts = []
    for record in records:
        size = len(record.data)
        high, low = divmod(record.time_ns & (1 << 64) - 1, 1 << 32)
        head = struct.pack("<IIIII", 0, high, low, size, record.length)
        parts.append(_block(ENHANCED_PACKET, head + record.data + bytes(-size % 4)))
    return b"".join(parts)


@attrs.frozen
class Interface:
    """What an interface description block says.

    ``units`` is how many units of its time stamps make a second, ``offset`` is
    in seconds, ``snaplen`` 0 means no limit, ``fcs`` counts octets.
    """

    link_type: int
    snaplen: int
    units: int = 1_000_000
    offset: int = 0
    fcs: int = 0


class PcapngDecoder(Decoder):
    """Reads a file that starts with a section header block."""

    def __init__(self, octets: Octets) -> None:
        super().__init__(octets)
        self._order = "<"
        self._interfaces: list[Interface] = []

    @property
    def inside(self) -> str:
        return "a block"

    def pull(self) -> Record | None:
        octets = self.octets
        while octets.left >= 12:
            [kind] = struct.unpack_from(f"{self._order}I", octets.data, octets.at)
            if kind == SECTION:
                self._section()
            size = self._size(kind)
            if octets.left < size:
                return None
            [again] = self._unpack("I", size - 4)
            if again != size:
                raise octets.corrupt(
                    "block total length", again, f"in front it was {size}", size - 4
                )
            record = self._read(kind, size)
            octets.at += size
            if record is not None:
                return record
        return None

    def _unpack(self, form: str, after: int) -> tuple[int, ...]:
        """Return numbers in the section's order, ``after`` octets further on."""
        at = self.octets.at + after
        return struct.unpack_from(self._order + form, self.octets.data, at)

    def _section(self) -> None:
        """Learn the byte order; everything else in a section depends on it."""
        magic = self.octets.data[self.octets.at + 8 : self.octets.at + 12]
        for order in "<>":
            if struct.unpack(f"{order}I", magic)[0] == BYTE_ORDER:
                self._order = order
                return
        raise self.octets.corrupt(
            "byte-order magic", f"0x{magic.hex()}", "not 0x1a2b3c4d", 8
        )

    def _size(self, kind: int) -> int:
        [size] = self._unpack("I", 4)
        smallest = _SMALLEST.get(kind, 12)
        if size % 4 or not smallest <= size <= BLOCK_LIMIT:
            why = f"not a multiple of 4 from {smallest} to {BLOCK_LIMIT}"
            raise self.octets.corrupt("block total length", size, why, 4)
        return size

    def _read(self, kind: int, size: int) -> Record | None:
        """Read the whole block; None unless it holds a frame."""
        if kind == ENHANCED_PACKET:
            number, high, low, captured, length = self._unpack("IIIII", 8)
            return self._packet(size, number, high << 32 | low, captured, length)
        if kind == SIMPLE_PACKET:
            [length] = self._unpack("I", 8)
            interface = self._interface(0)
            captured = min(length, interface.snaplen or length)
            return self._frame(interface, 12, size, 0, captured, length)
        if kind == PACKET:
            number, _drops, high, low, captured, length = self._unpack("HHIIII", 8)
            return self._packet(size, number, high << 32 | low, captured, length)
        if kind == SECTION:
            major, minor = self._unpack("HH", 12)
            if major != 1 or minor not in (0, 2):
                raise self.octets.corrupt("version", f"{major}.{minor}", "not 1.0", 12)
            self._interfaces = []
            self.started = True
        elif kind == INTERFACE:
            self._interfaces.append(self._describe(size))
        return None

    def _packet(
        self, size: int, number: int, units: int, captured: int, length: int
    ) -> Record:
        interface = self._interface(number)
        time = units * 1_000_000_000 // interface.units
        time += interface.offset * 1_000_000_000
        return self._frame(interface, 28, size, time, captured, length)

    def _interface(self, number: int) -> Interface:
        if number >= len(self._interfaces):
            why = f"the section has described {len(self._interfaces)}"
            raise self.octets.corrupt("interface", number, why, 8)
        interface = self._interfaces[number]
        if interface.link_type != ETHERNET:
            raise self.octets.refuse_link_type(interface.link_type)
        return interface

    def _frame(
        self,
        interface: Interface,
        start: int,
        size: int,
        time: int,
        captured: int,
        length: int,
    ) -> Record:
        room = min(size - start - 4, SNAPLEN)
        if captured > room:
            why = f"the block has room for {room}"
            at = 20 if start == 28 else 8  # a simple packet has the length only
            raise self.octets.corrupt("captured length", captured, why, at)
        begin = self.octets.at + start
        length = max(max(captured, length) - interface.fcs, 0)
        data = self.octets.data[begin : begin + min(captured, length)]
        return Record(time, data, length)

    def _describe(self, size: int) -> Interface:
        link_type, _reserved, snaplen = self._unpack("HHI", 8)
        units, offset, fcs = 1_000_000, 0, 0
        at, end = 16, size - 4
        while at + 4 <= end:
            code, count = self._unpack("HH", at)
            at += 4
            if count > end - at:
                why = f"the block has room for {end - at}"
                raise self.octets.corrupt("option length", count, why, at - 2)
            value = self.octets.data[self.octets.at + at : self.octets.at + at + count]
            if code == 0:
                break
            if code == _TIME_RESOLUTION and count == 1:
                units = 2 ** (value[0] & 127) if value[0] & 128 else 10 ** value[0]
            elif code == _TIME_OFFSET and count == 8:
                [offset] = self._unpack("q", at)
            elif code == _FCS_LENGTH and count == 1:
                fcs = value[0]
            at += count + -count % 4
        return Interface(link_type, snaplen, units, offset, fcs)
