"""How ``rumphyper dump`` prints frames: lines like tcpdump's, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence

import attrs

from rumphyper.link.capture import Record
from rumphyper.net import ParseError
from rumphyper.net.describe import describe, format_time, hex_lines
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.mac import format_mac

Sink = Callable[[Sequence[Record]], object]
"""Takes a batch of frames to where they are shown."""


def _print(lines: list[str]) -> None:
    """Print the lines of a batch, at once for who reads a pipe."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


@attrs.frozen
class ScreenLines:
    """A line a frame; ``hex`` 1 adds its octets behind the Ethernet header, 2 all.

    ``wall`` is false for times that are somebody's uptime.
    """

    hex: int
    wall: bool

    def __call__(self, records: Sequence[Record]) -> None:
        lines = []
        for record in records:
            seconds, rest = divmod(record.time_ns, 1_000_000_000)
            uptime = f"{seconds}.{rest // 1000:06}"
            stamp = format_time(record.time_ns) if self.wall else uptime
            lines.append(f"{stamp} {describe(record.data, record.length)}")
            if self.hex:
                lines += hex_lines(record.data[14 if self.hex == 1 else 0 :])
        _print(lines)


@attrs.frozen
class JsonLines:
    """An object a frame; ``hex`` adds all its octets as ``data``."""

    hex: int

    def __call__(self, records: Sequence[Record]) -> None:
        _print([json.dumps(self._object(record)) for record in records])

    def _object(self, record: Record) -> dict[str, object]:
        line: dict[str, object] = {
            "time_ns": record.time_ns,
            "length": record.length,
            "captured": len(record.data),
        }
        try:
            outer = Ethernet.parse(record.data)
        except ParseError:
            pass  # cut inside its VLAN tag: the text says so
        else:
            line["source"] = format_mac(outer.source)
            line["destination"] = format_mac(outer.destination)
            line["ethertype"] = outer.ethertype
            line["vlans"] = [tag.vlan for tag in outer.tags]
        line["text"] = describe(record.data, record.length)
        if self.hex:
            line["data"] = record.data.hex()
        return line
