"""Writing capture files that other programs read."""

from __future__ import annotations

import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import (
    CorruptError,
    FrameError,
    HostError,
    LinkClosedError,
    LinkEndedError,
    LinkstrError,
    UnsupportedError,
)
from rumphyper.link import open_link
from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader
from rumphyper.link.pcapwrite import PcapWriter
from tests.judges import tool, tshark

HEAD = bytes.fromhex("b2a000000001 b2a000000002 88b5")  # an experimental type
FRAMES = [HEAD + bytes([n]) * size for n, size in enumerate((46, 47, 48, 1500, 8986))]
START = 1_700_000_000 * 10**9
TIMES = [START + n * 1_234_567_891 for n in range(len(FRAMES))]
STAMPED = list(zip(TIMES, FRAMES, strict=True))


def judge(path: Path, unit: int = 1) -> None:
    """tshark sees FRAMES at TIMES, cut down to ``unit`` nanoseconds."""
    lines = tshark(path, ["frame.time_epoch", "frame.len", "frame.cap_len", "data"])
    wanted = []
    for stamp, frame in STAMPED:
        stamp = stamp // unit * unit
        text = f"{stamp // 10**9}.{stamp % 10**9:09}"
        size = str(len(frame))
        wanted.append([text, size, size, frame[14:].hex()])
    assert lines == wanted


@pytest.mark.parametrize(
    ("kind", "nanosecond", "name"),
    [
        ("pcap", True, "nanosecond pcap"),
        ("pcap", False, "pcap"),
        ("pcapng", True, "pcapng"),
    ],
)
def test_tshark_and_capinfos(
    tmp_path: Path, kind: str, nanosecond: bool, name: str
) -> None:
    path = tmp_path / "x"
    with PcapWriter(str(path), format=kind, nanosecond=nanosecond) as link:
        assert link.send_stamped(STAMPED) == len(FRAMES)
        assert link.counters.sent == len(FRAMES)
        assert link.counters.sent_bytes == sum(map(len, FRAMES))
    judge(path, 1 if nanosecond else 1000)
    run = subprocess.run(
        [tool("capinfos"), "-t", "-E", "-c", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f" - {name}\n" in run.stdout
    assert "Ethernet" in run.stdout
    assert f"Number of packets:   {len(FRAMES)}" in run.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_ending_names_the_format(tmp_path: Path) -> None:
    for name, magic in (("a.pcapng", b"\n\r\r\n"), ("a.pcap", b"\x4d\x3c\xb2\xa1")):
        path = tmp_path / name
        open_link(f"pcap:{path}", mode="w").close()
        assert path.read_bytes()[:4] == magic
    path = tmp_path / "b.pcap"
    open_link(f"pcap:{path}", mode="w", format="pcapng").close()
    assert path.read_bytes()[:4] == b"\n\r\r\n"


def test_frames_are_stamped_with_the_time_of_day(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    before = time.time_ns()
    with open_link(f"pcap:{path}", mode="w") as link:
        link.send([bytearray(FRAMES[0]), memoryview(FRAMES[1])])
        with PcapReader(str(path)) as reader:  # on the disk before it is closed
            stamped = reader.recv_stamped()
    assert [frame for _time, frame in stamped] == FRAMES[:2]
    assert all(before <= stamp <= time.time_ns() for stamp, _frame in stamped)


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_cut_records_stay_cut(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    records = [Record(TIMES[0], FRAMES[3][:64], 1514), Record(0, FRAMES[0], 60)]
    with PcapWriter(str(path), format=kind) as link:
        link.send_records(records)
    lines = tshark(path, ["frame.len", "frame.cap_len"])
    assert lines == [["1514", "64"], ["60", "60"]]
    with PcapReader(str(path), cut=True) as reader:
        assert reader.recv_records() == records


@pytest.mark.parametrize("kind", ["pcap", "nsecpcap", "pcapng"])
def test_appending_to_a_file_of_editcap(tmp_path: Path, kind: str) -> None:
    path, source = tmp_path / "x", tmp_path / "source"
    with PcapWriter(str(source)) as link:
        link.send_stamped(STAMPED[:2])
    subprocess.run([tool("editcap"), "-F", kind, source, path], check=True)
    with open_link(f"pcap:{path}", mode="a") as again:
        assert isinstance(again, PcapWriter)
        again.send_stamped(STAMPED[2:])
    judge(path, 1000 if kind == "pcap" else 1)


def test_appending_in_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "x"
    header = struct.pack(">IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(header)
    with PcapWriter(str(path), append=True) as link:
        link.send_stamped(STAMPED)
    judge(path)


def test_appending_starts_a_file(tmp_path: Path) -> None:
    for name in ("new", "empty"):
        path = tmp_path / name
        if name == "empty":
            path.touch()
        with PcapWriter(str(path), append=True) as link:
            link.send_stamped(STAMPED)
        judge(path)


def test_appending_to_what_is_no_whole_capture(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with PcapWriter(str(path)) as link:
        link.send(FRAMES[:1])
    data = path.read_bytes()
    for wrong, error in (
        (data[:-1], CorruptError),
        (b"text file", CorruptError),
        (data[:20] + b"\x71\0\0\0", UnsupportedError),
    ):
        path.write_bytes(wrong)
        with pytest.raises(error):
            open_link(f"pcap:{path}", mode="a")
        assert path.read_bytes() == wrong
    with pytest.raises(LinkstrError, match="append"):
        open_link("pcap:-", mode="a")


def test_a_writer_receives_nothing(tmp_path: Path) -> None:
    with open_link(f"pcap:{tmp_path}/x", mode="w") as link:
        with pytest.raises(LinkEndedError, match="open for writing"):
            link.recv()
        with pytest.raises(FrameError, match="frame 1 "):
            link.send([FRAMES[0], b"short"])
        assert link.counters.sent == 0
    with pytest.raises(LinkClosedError):
        link.send(FRAMES)
    assert (tmp_path / "x").stat().st_size == 24


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        open_link(f"pcap:{tmp_path}/no/file", mode="w")
    with pytest.raises(HostError, match="Is a directory"):
        open_link(f"pcap:{tmp_path}", mode="w")
    with pytest.raises(HostError, match=r"No space left.*make room"):
        open_link("pcap:/dev/full", mode="w")


def test_a_full_disk_takes_back_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, old_limit[1]))
    try:
        with PcapWriter(str(path)) as link:
            assert link.send_stamped(STAMPED[:4]) == 4
            size = path.stat().st_size
            with pytest.raises(HostError, match="File too large") as caught:
                link.send(FRAMES)
            assert caught.value.thing == str(path)
            assert path.stat().st_size == size
            assert link.counters.sent == 4
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_signal)
    with PcapReader(str(path)) as reader:
        assert reader.recv() == FRAMES[:4]


WRITE_TO_STDOUT = """
from rumphyper import open_link
frames = [bytes(14) + bytes([n & 255]) * 1000 for n in range(1000)]
with open_link("pcap:-", mode="w") as link:
    for n in range(0, 1000, 50):
        link.send(frames[n:n + 50])
"""


def test_standard_output_to_a_pipe(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WRITE_TO_STDOUT],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    lines = tshark("-", ["frame.len", "data"], run.stdout)
    assert len(lines) == 1000
    for number, line in enumerate(lines):
        assert line == ["1014", f"{number & 255:02x}" * 1000]


def test_a_pipe_without_a_reader_ends_the_link() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = (
        "import sys\n"
        "from rumphyper import open_link\n"
        "try:\n"
        "  open_link('pcap:-', mode='w')\n"
        "except EOFError as error:\n"
        "  sys.exit(str(error))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(write_end)
    assert run.returncode == 1
    assert "its reader has gone" in run.stderr


def test_close_wakes_a_sender_whose_reader_does_not_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    link = PcapWriter(str(fifo))
    caught: list[BaseException] = []

    def send() -> None:
        try:
            while True:
                link.send(FRAMES)
        except LinkClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    link.close()
    thread.join(5)
    os.close(reader)
    assert len(caught) == 1


def test_a_slow_reader_gets_every_octet(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = PcapReader(str(fifo))

    def send() -> None:
        with PcapWriter(str(fifo)) as link:
            for _ in range(50):
                link.send(FRAMES)

    thread = threading.Thread(target=send)
    thread.start()
    frames = list(reader)
    thread.join(5)
    assert frames == FRAMES * 50
    reader.close()
