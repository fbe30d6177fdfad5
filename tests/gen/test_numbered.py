"""Numbered frames: judged by tshark, read back, and hostile ones."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import FrameError, LinkstrError
from rumphyper.gen.flows import Flow, Range, flows, parse_range
from rumphyper.gen.numbered import (
    LEAST,
    PLACE,
    Ends,
    Kind,
    Numbered,
    base,
    read_alike,
    read_mark,
)
from rumphyper.link.pcapwrite import PcapWriter
from tests.judges import tshark

ENDS = Ends(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
ONE = [Flow(IPv4Address("10.0.0.1"), 5, IPv4Address("10.1.0.1"), 6)]


def number_of(frame: bytes) -> int:
    """The number, found without the code under test."""
    return int(struct.unpack_from(">Q", frame, PLACE + 8)[0])


@pytest.mark.parametrize("length", [LEAST, 60, 61, 1514])
def test_tshark_finds_nothing_wrong(tmp_path: Path, length: int) -> None:
    ways = flows(
        parse_range("10.0.0.1:45005-45007"), parse_range("10.1.0.1-10.1.0.2:45009")
    )
    numbered = Numbered(ENDS, ways, length, 0xDEADBEEF)
    frames = [*numbered.take(4), *numbered.take(5), numbered.end()]
    path = tmp_path / "x.pcap"
    with PcapWriter(str(path)) as writer:
        writer.send(frames)
    fields = ("eth.src", "eth.dst", "ip.src", "ip.dst", "udp.srcport", "udp.dstport",
              "frame.len", "ip.checksum.status", "data.data")  # fmt: skip
    lines = tshark(path, fields)
    for number, line in enumerate(lines):
        flow = ways[number % 6] if number < 9 else ways[0]
        kind = "01" if number == 9 else "00"
        mark = f"726867{kind}deadbeef{number:016x}"
        assert line == [
            "02:00:00:00:00:01", "02:00:00:00:00:02", str(flow.source),
            str(flow.target), str(flow.source_port), str(flow.target_port),
            str(length), "1", mark.ljust(2 * (length - PLACE), "0"),
        ]  # fmt: skip
    assert len(lines) == 10


@given(st.integers(0, 2**40), st.integers(1, 300), st.integers(1, 7))
def test_numbers_go_on_across_every_carry(start: int, count: int, ways: int) -> None:
    some = flows(Range(1, ways), Range(9, 9))
    numbered = Numbered(ENDS, some, 64, 7)
    numbered.next = start
    frames = numbered.take(count)
    assert [number_of(frame) for frame in frames] == [*range(start, start + count)]
    # Which flow comes when: the number says so.
    assert [frame[29] for frame in frames] == [
        1 + number % ways for number in range(start, start + count)
    ]
    assert read_alike(frames) == (7, tuple(range(start, start + count)))


def test_marks_behind_tags() -> None:
    frame = Numbered(ENDS, ONE, 60, 9, Kind.REQUEST).take(3)[2]
    for tag in (b"", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x05\x81\x00\x00\x06"):
        mark = read_mark(frame[:12] + tag + frame[12:])
        assert mark is not None
        assert (mark.kind, mark.stream, mark.number) == (Kind.REQUEST, 9, 2)
        assert mark.place == PLACE + len(tag)


@given(st.binary(max_size=80))
def test_any_octets_are_read(octets: bytes) -> None:
    mark = read_mark(octets)
    assert mark is None or octets[mark.place : mark.place + 3] == b"rhg"
    read_alike([octets, octets])


def test_what_is_not_alike() -> None:
    ours, others = Numbered(ENDS, ONE, 60, 1), Numbered(ENDS, ONE, 60, 2)
    frames = list(ours.take(3))
    assert read_alike([*frames, *others.take(1)]) is None
    assert read_alike([*frames, ours.end()]) is None
    assert read_alike([*frames, frames[0][: LEAST - 1]]) is None
    assert read_alike([bytes(60)] * 2) is None
    # Together they have the right length, one by one they have not.
    assert read_alike([frames[0], frames[1][: LEAST - 1], bytes(60)]) is None


def test_lengths_and_memory() -> None:
    with pytest.raises(FrameError, match="--unnumbered"):
        Numbered(ENDS, ONE, LEAST - 1, 0)
    with pytest.raises(FrameError, match="58 is the least"):
        Numbered(ENDS, ONE, 0, 0)
    with pytest.raises(LinkstrError, match="at most"):
        Numbered(ENDS, ONE * 60000, 9000, 0)
    assert len(base(ENDS, ONE[0], PLACE)) == PLACE
