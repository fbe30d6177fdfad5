"""TCP headers (RFC 9293), read only: no part of this package speaks TCP."""

from __future__ import annotations

import struct

import attrs
from typing_extensions import Buffer, Self

from rumphyper.net.errors import ParseError, need

PROTOCOL = 6
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
_HEADER = struct.Struct(">HHIIBBHHH")


@attrs.frozen
class TcpOption:
    """One option: its kind and what follows its length."""

    kind: int
    data: bytes = b""


@attrs.frozen
class Tcp:
    """One segment; ``flags`` are FIN, SYN and so on; numbers are absolute."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    urgent: int
    options: tuple[TcpOption, ...]
    payload: bytes

    @classmethod
    def parse(cls, buffer: Buffer) -> Self:
        """Take a segment apart, its checksum unread. Raises ParseError."""
        data = bytes(buffer)
        need(data, _HEADER.size, "TCP segment")
        fields = _HEADER.unpack_from(data)
        size = (fields[4] >> 4) * 4
        if not _HEADER.size <= size <= len(data):
            raise ParseError(
                "TCP segment", f"header length is {size}, octets there {len(data)}"
            )
        options = parse_options(data[_HEADER.size : size])
        return cls(
            fields[0], fields[1], fields[2], fields[3], fields[5], fields[6],
            fields[8], options, data[size:],
        )  # fmt: skip


def parse_options(data: bytes) -> tuple[TcpOption, ...]:
    """Return the options in ``data`` up to the end of the list.

    Raises ParseError for a length that is wrong.
    """
    options = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind in (END, NOP):
            options.append(TcpOption(kind))
            if kind == END:
                break
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if not 2 <= size <= len(data) - at:
            raise ParseError(
                "TCP option", f"length is {size}, octets there {len(data) - at}"
            )
        options.append(TcpOption(kind, data[at + 2 : at + size]))
        at += size
    return tuple(options)
