"""The classic pcap format: both byte orders, micro- and nanoseconds.

Facts from draft-ietf-opsawg-pcap and pcap-savefile(5).
"""

from __future__ import annotations

import struct

import attrs

from rumphyper.link.capture import ETHERNET, SNAPLEN, Decoder, Octets, Record

MICROSECONDS = 0xA1B2C3D4
NANOSECONDS = 0xA1B23C4D
HEADER_SIZE = 24
RECORD_SIZE = 16
_FCS_PRESENT = 0x0400_0000


@attrs.frozen
class PcapFormat:
    """How one file spells its numbers: ``order`` is struct's ``<`` or ``>``."""

    order: str = "<"
    nanosecond: bool = True

    @classmethod
    def of(cls, magic: bytes) -> PcapFormat | None:
        """Return the format of a file that starts with ``magic`` (4 octets)."""
        for order in "<>":
            [number] = struct.unpack(f"{order}I", magic)
            if number in (MICROSECONDS, NANOSECONDS):
                return cls(order, number == NANOSECONDS)
        return None

    def header(self) -> bytes:
        """Return the file header."""
        magic = NANOSECONDS if self.nanosecond else MICROSECONDS
        return struct.pack(f"{self.order}IHHiIII", magic, 2, 4, 0, 0, SNAPLEN, ETHERNET)

    def encode(self, records: list[Record]) -> bytes:
        """Return the records' octets."""
        pack = struct.Struct(f"{self.order}IIII").pack
        parts = []
        for record in records:
            seconds, rest = divmod(record.time_ns, 1_000_000_000)
            rest = rest if self.nanosecond else rest // 1000
            parts.append(
                pack(seconds & 0xFFFFFFFF, rest, len(record.data), record.length)
            )
            parts.append(record.data)
        return b"".join(parts)


class PcapDecoder(Decoder):
    """Reads a file whose first 4 octets `PcapFormat.of` knew."""

    def __init__(self, octets: Octets, form: PcapFormat) -> None:
        super().__init__(octets)
        self.form = form
        self._record = struct.Struct(f"{form.order}IIII").unpack_from
        self._unit = 1 if form.nanosecond else 1000
        self._fcs = 0

    @property
    def inside(self) -> str:
        if not self.started:
            return "the file header"
        return "a record header" if self.octets.left < RECORD_SIZE else "a record"

    def pull(self) -> Record | None:
        octets = self.octets
        if not self.started and not self._header():
            return None
        if octets.left < RECORD_SIZE:
            return None
        seconds, rest, captured, length = self._record(octets.data, octets.at)
        if captured > SNAPLEN:
            raise octets.corrupt(
                "captured length", captured, f"more than {SNAPLEN} octets", 8
            )
        if octets.left < RECORD_SIZE + captured:
            return None
        start = octets.at + RECORD_SIZE
        octets.at = start + captured
        length = max(captured, length) - self._fcs
        data = octets.data[start : start + min(captured, max(length, 0))]
        time = seconds * 1_000_000_000 + rest * self._unit
        return Record(time, data, max(length, 0))

    def _header(self) -> bool:
        """Read the file header; false when it is not whole yet."""
        octets = self.octets
        if octets.left < HEADER_SIZE:
            return False
        fields = struct.unpack_from(f"{self.form.order}IHHiIII", octets.data, octets.at)
        version, link = fields[1:3], fields[6]
        if version != (2, 4):
            text = f"{version[0]}.{version[1]}"
            raise octets.corrupt("version", text, "not 2.4", 4)
        if link & 0xFFFF != ETHERNET:
            raise octets.refuse_link_type(link & 0xFFFF)
        if link & _FCS_PRESENT:
            self._fcs = (link >> 28) * 2
        octets.at += HEADER_SIZE
        self.started = True
        return True
