"""The decoders on what no tool here writes, and on any octets at all."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError, UnsupportedError
from rumphyper.link import pcapng
from rumphyper.link.capture import Record
from rumphyper.link.pcapdecode import CaptureDecoder
from rumphyper.link.pcapfile import PcapFormat
from tests.judges import tshark

HEAD = bytes.fromhex("b2a000000001 b2a000000002 88b5")
FRAME = HEAD + bytes(range(47))
SECONDS = 1_700_000_000


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str, length: int = -1, minor: int = 0) -> bytes:
    body = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, minor, length)
    return block(order, 0x0A0D0D0A, body)


def interface(
    order: str, options: bytes = b"", snaplen: int = 0, link_type: int = 1
) -> bytes:
    head = struct.pack(order + "HHI", link_type, 0, snaplen)
    return block(order, 1, head + options)


def option(order: str, code: int, value: bytes) -> bytes:
    head = struct.pack(order + "HH", code, len(value))
    return head + value + bytes(-len(value) % 4)


def enhanced(order: str, number: int, units: int, frame: bytes = FRAME) -> bytes:
    high, low = divmod(units, 1 << 32)
    head = struct.pack(order + "IIIII", number, high, low, len(frame), len(frame))
    flags = option(order, 2, bytes(4)) + bytes(4)
    return block(order, 6, head + frame + bytes(-len(frame) % 4) + flags)


def decode(data: bytes, piece: int = 1 << 20) -> list[Record]:
    """Return the records of a whole file that comes in pieces."""
    decoder = CaptureDecoder("x")
    records = []
    for at in range(0, len(data), piece):
        decoder.feed(data[at : at + piece])
        while (record := decoder.pull()) is not None:
            records.append(record)
    decoder.end()
    return records


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_pcapng_block(tmp_path: Path, order: str) -> None:
    nano = option(order, 2, b"eth0") + option(order, 9, b"\x09")
    binary = option(order, 9, bytes([128 + 20]))
    shifted = option(order, 14, struct.pack(order + "q", SECONDS)) + bytes(4)
    old = struct.pack(order + "HHIIII", 0, 0, *divmod(SECONDS * 10**6, 1 << 32),
                      len(FRAME), len(FRAME))  # fmt: skip
    unknown = block(order, 0x0BAD, b"somebody's own block")
    data = (
        section(order)
        + interface(order)  # microseconds when nothing is said
        + interface(order, nano)
        + interface(order, binary)
        + interface(order, shifted)
        + enhanced(order, 0, SECONDS * 10**6 + 7)
        + unknown
        + enhanced(order, 1, SECONDS * 10**9 + 7)
        + enhanced(order, 2, (SECONDS << 20) + 3 * 2**18)
        + enhanced(order, 3, 5 * 10**6)
        + block(order, 4, struct.pack(order + "HHHH", 0, 0, 0, 0))  # name resolution
        + block(order, 2, old + FRAME)
        + block(order, 3, struct.pack(order + "I", len(FRAME)) + FRAME)
    )
    times = [
        SECONDS * 10**9 + 7000,
        SECONDS * 10**9 + 7,
        SECONDS * 10**9 + 750_000_000,
        (SECONDS + 5) * 10**9,
        SECONDS * 10**9,
        0,
    ]
    for piece in (1, 7, len(data)):
        assert decode(data, piece) == [Record(t, FRAME, len(FRAME)) for t in times]
    path = tmp_path / "x.pcapng"
    path.write_bytes(data.replace(unknown, b""))  # tshark would list it as a frame
    lines = tshark(path, ["frame.time_epoch", "data"])
    assert [line[1] for line in lines] == [FRAME[14:].hex()] * len(times)
    theirs = [line[0] for line in lines]
    ours = [f"{stamp // 10**9}.{stamp % 10**9:09}" for stamp in times]
    assert theirs[:5] == ours[:5]  # a simple packet has no time


def test_simple_packets_end_at_the_snaplen() -> None:
    data = section("<") + interface("<", snaplen=20)
    data += block("<", 3, struct.pack("<I", len(FRAME)) + FRAME[:20])
    assert decode(data) == [Record(0, FRAME[:20], len(FRAME))]


def test_sections_of_both_byte_orders_in_one_file(tmp_path: Path) -> None:
    data = b""
    for order in "<><":
        data += section(order) + interface(order) + enhanced(order, 0, SECONDS * 10**6)
    assert decode(data) == [Record(SECONDS * 10**9, FRAME, len(FRAME))] * 3
    path = tmp_path / "x.pcapng"
    path.write_bytes(data)
    assert len(tshark(path, ["data"])) == 3


def test_frame_check_sequences_are_taken_off() -> None:
    data = section("<") + interface("<", option("<", 13, b"\x04"))
    data += enhanced("<", 0, 0, FRAME + b"fcs!")
    assert decode(data) == [Record(0, FRAME, len(FRAME))]


def test_other_link_types_only_matter_when_they_have_frames() -> None:
    data = section("<") + interface("<", link_type=249) + interface("<")
    assert len(decode(data + enhanced("<", 1, 0))) == 1
    with pytest.raises(UnsupportedError, match=r"249 \(USBPcap\)"):
        decode(data + enhanced("<", 1, 0) + enhanced("<", 0, 0))


GOOD = section("<") + interface("<")
EPB = struct.pack("<IIIII", 0, 0, 0, 60, 60)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (GOOD + struct.pack("<III", 6, 13, 0), "block total length at offset 52 is 13"),
        (GOOD + struct.pack("<III", 6, 0, 0), "block total length at offset 52 is 0"),
        (GOOD + struct.pack("<III", 9, 8, 0), "block total length at offset 52 is 8"),
        (
            GOOD + b"\x06\0\0\0" + b"\xff" * 8,
            "total length at offset 52 is 42949",
        ),
        (GOOD + block("<", 6, EPB[:12]), "block total length at offset 52 is 24"),
        (GOOD + block("<", 6, EPB), "captured length at offset 68 is 60, the block"),
        (GOOD + block("<", 3, b"\x3c\0\0\0"), "captured length at offset 56 is 60"),
        (section("<") + block("<", 6, EPB), "interface at offset 36 is 0, the section"),
        (GOOD + section("<") + block("<", 6, EPB), "interface at offset 84 is 0"),
        (section("<") + block("<", 3, b"\x3c\0\0\0"), "interface at offset 36 is 0"),
        (GOOD[:-4] + b"\x18\0\0\0", "total length at offset 44 is 24, in front it was"),
        (GOOD[:8] + b"\x1a\x2b\x3c\x4e", "magic at offset 8 is 0x1a2b3c4e, not "),
        (section("<", minor=9), r"version at offset 12 is 1\.9"),
        (
            section("<") + interface("<", b"\x09\0\xff\0"),
            "option length at offset 46 is 255, the block has room for 0",
        ),
        (GOOD + EPB[:9], "cut off inside a block at offset 48: 9 octets"),
        (b"", "cut off inside the file header at offset 0"),
        (b"\n\r\r\n", "cut off inside a block at offset 0: 4 octets"),
    ],
)
def test_a_break_of_the_format_is_named(data: bytes, text: str) -> None:
    with pytest.raises(CorruptError, match=text) as caught:
        decode(data)
    assert str(caught.value).startswith("x: ")


def attempt(data: bytes, piece: int) -> tuple[list[Record], str]:
    """Return the records before the first error, and its text."""
    decoder = CaptureDecoder("x")
    records: list[Record] = []

    def run() -> str:
        try:
            for at in range(0, len(data), piece):
                decoder.feed(data[at : at + piece])
                while (record := decoder.pull()) is not None:
                    records.append(record)
            decoder.end()
        except (CorruptError, UnsupportedError) as error:
            return str(error)
        return ""

    return records, run()


starts = st.sampled_from(
    [
        b"",
        PcapFormat("<", True).header(),
        PcapFormat(">", False).header(),
        GOOD,
        section(">") + interface(">"),
        GOOD + enhanced("<", 0, 1),
    ]
)


@given(starts, st.binary(max_size=200), st.integers(1, 300))
def test_any_octets_in_any_pieces(start: bytes, data: bytes, piece: int) -> None:
    whole = attempt(start + data, len(start + data) or 1)
    assert attempt(start + data, piece) == whole


FILES = [
    GOOD + enhanced("<", 0, 1) + enhanced("<", 0, 2),
    section(">") + interface(">", option(">", 9, b"\x09")) + enhanced(">", 0, 1),
    PcapFormat("<").header() + PcapFormat("<").encode([Record(5, FRAME, 61)] * 3),
]


@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 255)), max_size=4),
    st.integers(0, 500),
    st.integers(1, 300),
)
def test_damaged_files_in_any_pieces(
    good: bytes, changes: list[tuple[int, int]], cut: int, piece: int
) -> None:
    damaged = bytearray(good)
    for at, change in changes:
        damaged[at % len(good)] ^= change
    data = bytes(damaged[: cut % (len(good) + 1) or None])
    assert attempt(data, piece) == attempt(data, len(data))


records = st.lists(
    st.tuples(
        st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=100), st.integers(0, 9)
    ).map(lambda t: Record(t[0], t[1], len(t[1]) + t[2])),
    max_size=5,
)


@given(records, st.sampled_from("<>"))
def test_there_and_back(batch: list[Record], order: str) -> None:
    form = PcapFormat(order, True)
    assert decode(form.header() + form.encode(batch)) == batch
    assert decode(pcapng.header() + pcapng.encode(batch)) == batch
    micro = PcapFormat(order, False)
    rounded = [Record(r.time_ns // 1000 * 1000, r.data, r.length) for r in batch]
    assert decode(micro.header() + micro.encode(batch)) == rounded
