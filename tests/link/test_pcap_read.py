"""Reading capture files that other programs wrote, pipes and growing files."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import (
    CorruptError,
    HostError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    UnsupportedError,
)
from rumphyper.link import open_link
from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader
from tests.judges import tool
from tests.link.pcap_support import (
    CLASSIC,
    FRAMES,
    STAMPED,
    record,
    write,
)


def read(path: Path, **options: Any) -> list[tuple[int, bytes]]:
    """Return every stamped frame of a file, which must end properly."""
    frames = []
    with PcapReader(str(path), **options) as link:
        try:
            while True:
                frames += link.recv_stamped(limit=2, timeout=5)
        except LinkEndedError:
            pass
        assert link.counters.received == len(frames)
        assert link.counters.received_bytes == sum(len(f) for _t, f in frames)
    return frames


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_classic_files_of_scapy(tmp_path: Path, endianness: str, nano: bool) -> None:
    path = write(tmp_path / "x.pcap", endianness=endianness, nano=nano)
    assert read(path) == STAMPED


@pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "pcapng"])
def test_files_of_editcap(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path / "x.pcap", nano=True)
    target = tmp_path / "y"
    subprocess.run([tool("editcap"), "-F", kind, source, target], check=True)
    assert read(target) == STAMPED


def test_files_of_mergecap(tmp_path: Path) -> None:
    one = write(tmp_path / "one.pcap", nano=True)
    two = write(tmp_path / "two.pcap", nano=False)
    target = tmp_path / "both.pcapng"
    subprocess.run([tool("mergecap"), "-w", target, one, two], check=True)
    assert read(target) == sorted(STAMPED * 2)


def test_files_of_tcpdump(tmp_path: Path) -> None:
    source = write(tmp_path / "x.pcap", nano=True)
    target = tmp_path / "y.pcap"
    command = [tool("tcpdump"), "-Z", "root", "-r", str(source), "-w", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    assert read(target) == STAMPED


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_cut_frames_are_counted(tmp_path: Path, kind: str) -> None:
    source = write(tmp_path / "x.pcap", nano=True)
    target = tmp_path / "y"
    command = [tool("editcap"), "-F", kind, "-s", "60", str(source), str(target)]
    subprocess.run(command, check=True)
    with PcapReader(str(target)) as link:
        assert link.recv() == FRAMES[:2]
        assert link.counters.dropped == 3
    with PcapReader(str(target), cut=True) as link:
        records = link.recv_records()
    assert [record.data for record in records] == [frame[:60] for frame in FRAMES]
    assert [record.length for record in records] == [len(frame) for frame in FRAMES]
    assert [record.cut for record in records] == [False, False, True, True, True]


def test_link_types_are_named(tmp_path: Path) -> None:
    for kind in ("pcap", "pcapng"):
        source = write(tmp_path / "x.pcap")
        target = tmp_path / kind
        command = [tool("editcap"), "-F", kind, "-T", "linux-sll", source, target]
        subprocess.run(command, check=True)
        with pytest.raises(
            UnsupportedError, match=r"link type is 113 \(Linux cooked\)"
        ):
            open_link(f"pcap:{target}")


def test_frame_check_sequences_are_taken_off(tmp_path: Path) -> None:
    header = CLASSIC[:20] + struct.pack("<I", 1 | 0x04000000 | 2 << 28)
    path = tmp_path / "x.pcap"
    path.write_bytes(header + record(b"f" * 60 + b"fcs!") + record(b"f" * 50, 64))
    assert [frame for _time, frame in read(path)] == [b"f" * 60]
    with PcapReader(str(path), cut=True) as link:
        whole, cut = link.recv_records()
    assert (whole.length, whole.data) == (60, b"f" * 60)
    assert (cut.length, cut.data) == (60, b"f" * 50)


def test_runts_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(CLASSIC + record(b"short") + record(b"") + record(b"x" * 14))
    with PcapReader(str(path)) as link:
        assert link.recv() == [b"x" * 14]
        assert link.counters.dropped == 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", r"cut off inside the file header at offset 0: 0 octets"),
        (b"\xd4\xc3", r"cut off inside the file header at offset 0: 2 octets"),
        (CLASSIC[:23], r"cut off inside the file header at offset 0: 23 octets"),
        (b"\x7fELF" + bytes(60), r"magic at offset 0 is 0x7f454c46, not pcap"),
        (b"\xd4\xc3\xb2\xa1\x03\0\0\0" + bytes(16), r"version at offset 4 is 3\.0"),
        (
            CLASSIC + struct.pack("<IIII", 1, 2, 0xFFFFFFFF, 60),
            r"captured length at offset 32 is 4294967295, more than 262144",
        ),
    ],
)
def test_foreign_files_are_refused_at_once(
    tmp_path: Path, data: bytes, text: str
) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=text) as caught:
        open_link(f"pcap:{path}")
    assert caught.value.thing == str(path)
    assert caught.value.remedy


@pytest.mark.parametrize("cut", [1, 15, 16, 40])
def test_frames_before_the_damage_are_delivered(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.pcap"
    good = CLASSIC + record(b"a" * 60) + record(b"b" * 60)
    path.write_bytes(good + record(b"c" * 60)[:cut])
    inside = "record header" if cut < 16 else "record"
    with PcapReader(str(path)) as link:
        assert link.recv() == [b"a" * 60, b"b" * 60]
        for _ in range(2):
            with pytest.raises(
                CorruptError, match=f"inside a {inside} at offset {len(good)}: {cut} "
            ):
                link.recv(timeout=0)


def test_no_such_file_no_file_no_permission(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        open_link(f"pcap:{tmp_path}/none")
    with pytest.raises(HostError, match="Is a directory"):
        open_link(f"pcap:{tmp_path}")
    with pytest.raises(CorruptError, match="cut off inside the file header"):
        open_link("pcap:/dev/null")
    with pytest.raises(CorruptError, match="magic"):
        open_link("pcap:/dev/zero")
    with pytest.raises(LinkstrError, match="mode 'rw'"):
        open_link("pcap:x", mode="rw")
    with pytest.raises(LinkstrError, match="format 'tar'"):
        open_link("pcap:x", format="tar", mode="w")
    with pytest.raises(LinkstrError, match=r"docs/pcap\.md"):
        open_link("pcap:x", colour="blue")


def test_a_reader_cannot_send(tmp_path: Path) -> None:
    link = open_link(f"pcap:{write(tmp_path / 'x.pcap')}")
    with pytest.raises(LinkError, match="open for reading"):
        link.send([b"x" * 60])
    link.close()
    for use in (link.recv, lambda: link.send([])):
        with pytest.raises(LinkClosedError):
            use()


def test_records_are_values() -> None:
    assert Record(1, b"abc", 3) == Record(1, b"abc", 3)
    assert not Record(1, b"abc", 3).cut
