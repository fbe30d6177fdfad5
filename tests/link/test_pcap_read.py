"""Reading capture files that other programs wrote, pipes and growing files."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import threading
import time
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
from rumphyper.link import Link, open_link
from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader
from tests.judges import tool

scapy = pytest.importorskip("scapy.utils", reason="scapy is not installed")

START = 1_700_000_000
FRAMES = [bytes([n & 255]) * size for n, size in enumerate((14, 60, 61, 1514, 9000))]
TIMES = [START * 10**9 + n * 1_000_001_000 for n in range(len(FRAMES))]
STAMPED = list(zip(TIMES, FRAMES, strict=True))


def write(path: Path, **options: Any) -> Path:
    """Have scapy write FRAMES at TIMES."""
    with scapy.RawPcapWriter(str(path), linktype=1, **options) as writer:
        writer.write_header(None)
        for stamp, frame in STAMPED:
            seconds, rest = divmod(stamp, 10**9)
            usec = rest if options.get("nano") else rest // 1000
            writer.write_packet(frame, sec=seconds, usec=usec)
    return path


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


CLASSIC = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)


def record(data: bytes, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return struct.pack("<IIII", START, 5, len(data), size) + data


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


def readable(link: Link) -> bool:
    epoll = select.epoll()  # as asyncio does; refuses regular files themselves
    try:
        epoll.register(link.fileno(), select.EPOLLIN)
        return bool(epoll.poll(0))
    finally:
        epoll.close()


def test_a_file_is_readable_to_its_end(tmp_path: Path) -> None:
    with open_link(f"pcap:{write(tmp_path / 'x.pcap')}") as link:
        for frame in FRAMES:
            assert readable(link)
            assert link.recv(limit=1, timeout=0) == [frame]
        assert readable(link)  # recv does not wait: it raises
        with pytest.raises(LinkEndedError):
            link.recv()


def test_a_pipe_is_readable_when_a_frame_is_there(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    link = open_link(f"pcap:{fifo}")  # opening does not wait for the writer
    assert not readable(link)
    assert link.recv(timeout=0.01) == []
    with open(fifo, "wb", buffering=0) as writer:
        writer.write(CLASSIC)
        assert link.recv(timeout=0.01) == []
        assert not readable(link)
        writer.write(record(b"a" * 60) + record(b"b" * 60) + record(b"c" * 60)[:30])
        assert readable(link)
        assert link.recv(limit=1, timeout=0) == [b"a" * 60]
        assert readable(link)  # the second frame is not in the pipe any more
        assert link.recv(timeout=0) == [b"b" * 60]
        assert not readable(link)
        writer.write(record(b"c" * 60)[30:])
        assert link.recv() == [b"c" * 60]
    assert readable(link)
    with pytest.raises(LinkEndedError):
        link.recv()
    link.close()


def test_standard_input(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    code = (
        "from rumphyper import open_link\n"
        "print([len(frame) for frame in open_link('pcap:-')])"
    )
    command = [sys.executable, "-c", code]
    wanted = f"{[len(frame) for frame in FRAMES]}\n"
    data = path.read_bytes()
    through_pipe = subprocess.run(
        command, input=data, capture_output=True, timeout=30, check=True
    )
    assert through_pipe.stdout.decode() == wanted
    with path.open("rb") as file:
        from_file = subprocess.run(
            command, stdin=file, capture_output=True, timeout=30, check=True
        )
    assert from_file.stdout.decode() == wanted


def test_following(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"")
    with PcapReader(str(path), follow=True) as link, path.open("ab", 0) as writer:
        assert link.recv(timeout=0.01) == []
        assert not readable(link)
        writer.write(CLASSIC[:10])
        assert link.recv(timeout=0.01) == []
        writer.write(CLASSIC[10:] + record(b"a" * 60)[:20])
        assert link.recv(timeout=0.01) == []
        writer.write(record(b"a" * 60)[20:])
        assert readable(link)
        assert link.recv() == [b"a" * 60]
        assert not readable(link)
        before = time.monotonic()
        timer = threading.Timer(0.1, writer.write, (record(b"b" * 60),))
        timer.start()
        assert link.recv(timeout=30) == [b"b" * 60]
        assert time.monotonic() - before < 0.9  # told, not looked again
        timer.join()
        writer.write(record(b"c" * 60) + b"half")
        path.unlink()
        assert link.recv() == [b"c" * 60]
        with pytest.raises(CorruptError, match="record header at offset"):
            link.recv()


def test_following_to_the_removal(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    with PcapReader(str(path), follow=True) as link:
        assert link.recv() == FRAMES
        assert link.recv(timeout=0) == []
        path.unlink()
        with pytest.raises(LinkEndedError):
            link.recv(timeout=5)


def test_a_followed_file_that_shrinks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap")
    with PcapReader(str(path), follow=True) as link:
        assert link.recv() == FRAMES
        os.truncate(path, 100)
        with pytest.raises(CorruptError, match="its size is 100, it was read up to"):
            link.recv(timeout=5)


@pytest.mark.parametrize("kind", ["fifo", "follow"])
def test_close_wakes_a_blocked_receiver(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(CLASSIC)
    link = PcapReader(str(path), follow=kind == "follow")
    caught: list[BaseException] = []

    def receive() -> None:
        try:
            link.recv()
        except LinkClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    time.sleep(0.05)
    before = len(os.listdir("/proc/self/fd"))
    link.close()
    link.close()
    thread.join(5)
    assert len(caught) == 1
    assert len(os.listdir("/proc/self/fd")) < before


def test_nothing_leaks_when_opening_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"foreign file")
    before = len(os.listdir("/proc/self/fd"))
    for follow in (False, True):
        with pytest.raises(CorruptError):
            PcapReader(str(path), follow=follow)
    assert len(os.listdir("/proc/self/fd")) == before


def test_records_are_values() -> None:
    assert Record(1, b"abc", 3) == Record(1, b"abc", 3)
    assert not Record(1, b"abc", 3).cut
