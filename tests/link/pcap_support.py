"""What the tests of reading capture files share."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

scapy = pytest.importorskip("scapy.utils", reason="scapy is not installed")

START = 1_700_000_000
FRAMES = [bytes([n & 255]) * size for n, size in enumerate((14, 60, 61, 1514, 9000))]
TIMES = [START * 10**9 + n * 1_000_001_000 for n in range(len(FRAMES))]
STAMPED = list(zip(TIMES, FRAMES, strict=True))
CLASSIC = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def write(path: Path, **options: Any) -> Path:
    """Have scapy write FRAMES at TIMES."""
    with scapy.RawPcapWriter(str(path), linktype=1, **options) as writer:
        writer.write_header(None)
        for stamp, frame in STAMPED:
            seconds, rest = divmod(stamp, 10**9)
            usec = rest if options.get("nano") else rest // 1000
            writer.write_packet(frame, sec=seconds, usec=usec)
    return path


def record(data: bytes, length: int | None = None) -> bytes:
    """A record of a classic file."""
    size = len(data) if length is None else length
    return struct.pack("<IIII", START, 5, len(data), size) + data
