"""``rumphyper dump`` on capture files, as tcpdump's and tshark's users use it."""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader
from rumphyper.link.pcapwrite import PcapWriter
from rumphyper.net.describe import describe, format_time
from tests.cli.command import ROOT, argv, fails, finish, line, run, started
from tests.judges import tool, tshark

START = 1_700_000_000 * 10**9
ARP = bytes.fromhex(
    "ffffffffffff b2a000000001 0806 0001 0800 06 04 0001"
    "b2a000000001 0a000001 000000000000 0a000002"
)
TAGGED = bytes.fromhex("b2a000000002 b2a000000001 8100 0005 88b5") + bytes(46)
FRAMES = [ARP, TAGGED] * 4
RECORDS = [
    Record(START + n * 10**9, frame, len(frame)) for n, frame in enumerate(FRAMES)
]
LINES = [f"{format_time(record.time_ns)} {describe(record.data)}" for record in RECORDS]
OCTETS = sum(map(len, FRAMES))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "in.pcap"
    with PcapWriter(str(path)) as link:
        link.send_records(RECORDS)
    return path


def test_lines_like_those_of_tcpdump(capture: Path) -> None:
    done = run("dump", f"pcap:{capture}")
    assert (done.returncode, done.stdout.splitlines()) == (0, LINES)
    assert done.stderr == f"8 frames, {OCTETS} octets, 0 dropped\n"
    theirs = subprocess.run(
        [tool("tcpdump"), "-n", "-e", "-c", "1", "-r", capture],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == theirs.stdout.strip()


def test_a_path_will_do(capture: Path) -> None:
    done = run("dump", capture, "-c", "3")
    assert (done.returncode, done.stdout.splitlines()) == (0, LINES[:3])
    assert done.stderr.startswith("3 frames")


@pytest.mark.parametrize("colon", [False, True])
def test_a_fifo_will_do(capture: Path, tmp_path: Path, colon: bool) -> None:
    """And a colon in a folder's name is no scheme's."""
    folder = tmp_path / ("a:b" if colon else "b")
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    fifo = os.open(folder / "fifo", os.O_RDWR)  # waits for no reader
    with started("dump", folder / "fifo") as process:
        os.write(fifo, capture.read_bytes())
        assert [line(process.stdout) for _ in LINES] == LINES
        os.close(fifo)
        assert finish(process)[0] == 0


def test_hexadecimal(capture: Path) -> None:
    short = run("dump", capture, "-c", "1", "-x").stdout.splitlines()
    assert short[0] == LINES[0]
    assert short[1] == "\t0x0000:  0001 0800 0604 0001 b2a0 0000 0001 0a00"
    whole = run("dump", capture, "-c", "1", "-xx").stdout.splitlines()
    assert whole[1] == "\t0x0000:  ffff ffff ffff b2a0 0000 0001 0806 0001"


def test_json(capture: Path) -> None:
    done = run("dump", capture, "--json", "-x")
    *frames, summary = map(json.loads, done.stdout.splitlines())
    assert done.stderr == ""
    assert summary == {"frames": 8, "octets": OCTETS, "dropped": 0}
    assert frames[0] == {
        "time_ns": START,
        "length": 42,
        "captured": 42,
        "source": "b2:a0:00:00:00:01",
        "destination": "ff:ff:ff:ff:ff:ff",
        "ethertype": 0x0806,
        "vlans": [],
        "text": describe(ARP),
        "data": ARP.hex(),
    }
    assert (frames[1]["ethertype"], frames[1]["vlans"]) == (0x88B5, [5])


@pytest.mark.parametrize("name", ["out.pcap", "out.pcapng"])
def test_writing_a_file(capture: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    done = run("dump", capture, "-w", path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("8 frames")
    assert path.read_bytes().startswith(b"\n\r\r\n") is name.endswith("ng")
    lines = tshark(path, ["frame.time_epoch", "frame.len"])
    assert lines == [
        [f"{record.time_ns // 10**9}.000000000", str(record.length)]
        for record in RECORDS
    ]
    with PcapReader(str(path)) as link:
        assert link.recv_records() == RECORDS


def test_frames_that_were_cut_stay_cut(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    records = [Record(START, ARP[:20], 42), Record(START, TAGGED[:15], 64)]
    with PcapWriter(str(source)) as link:
        link.send_records(records)
    assert run("dump", source, "-w", target).returncode == 0
    with PcapReader(str(target), cut=True) as reader:
        assert reader.recv_records() == records
    assert run("dump", source).stdout.count("cut off") == 2
    assert len(run("dump", source, "--json").stdout.splitlines()) == 3


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_a_pipe_into_tshark(capture: Path, kind: str) -> None:
    command = argv("dump", capture, "-w", "-", "--format", kind)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert len(tshark("-", ["frame.len"], done.stdout)) == 8


def test_a_capture_by_tshark_from_the_pipe(capture: Path) -> None:
    tshark_path = tool("tshark")
    if not os.access(tool("dumpcap"), os.X_OK):
        pytest.skip("dumpcap is for the group wireshark only")
    with subprocess.Popen(
        argv("dump", capture, "-w", "-"), cwd=ROOT, stdout=subprocess.PIPE
    ) as dump:
        done = subprocess.run(
            [tshark_path, "-n", "-i", "-", "-T", "fields", "-e", "frame.len"],
            stdin=dump.stdout, capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    assert dump.returncode == 0
    assert done.stdout.split() == [str(len(frame)) for frame in FRAMES]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_until_a_signal(capture: Path, number: int) -> None:
    with started("dump", capture, "--follow") as process:
        assert [line(process.stdout) for _ in LINES] == LINES
        with PcapWriter(str(capture), append=True) as link:
            link.send_records(RECORDS[:1])
        assert line(process.stdout) == LINES[0]  # at once, through a pipe
        process.send_signal(number)
        status, rest, err = finish(process)
    assert (status, rest) == (0, "")
    assert err == f"9 frames, {OCTETS + 42} octets, 0 dropped\n"


def test_waiting_costs_nothing(capture: Path) -> None:
    with started("dump", capture, "--follow") as process:
        for _ in LINES:
            line(process.stdout)
        before = _cpu(process.pid)
        time.sleep(0.5)
        assert _cpu(process.pid) - before <= 2  # hundredths of a second


def _cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("option", ["lines", "-w-", "--json"])
def test_a_reader_that_has_seen_enough(tmp_path: Path, option: str) -> None:
    path = tmp_path / "long.pcap"
    with PcapWriter(str(path)) as link:
        link.send_records(RECORDS * 2000)
    words = [] if option == "lines" else [option]
    with subprocess.Popen(
        argv("dump", path, *words), cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "Exception" not in err
    assert len(err.splitlines()) <= 1


def test_a_reader_that_is_stuck_does_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "long.pcap"
    with PcapWriter(str(path)) as link:
        link.send_records(RECORDS * 2000)
    with started("dump", path, "-w", "-") as process:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        room = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        waiting = array.array("i", [0])
        while waiting[0] < room // 2:  # the rest may be pages with a little each
            assert process.poll() is None
            time.sleep(0.05)
            fcntl.ioctl(fd, termios.FIONREAD, waiting)
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_what_cannot_be_done(tmp_path: Path, capture: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"no capture at all")
    assert "magic at offset 0 is 0x6e6f2063" in fails("dump", foreign)
    assert "No such file" in fails("dump", f"pcap:{tmp_path}/none")
    assert "No such file" in fails("dump", f"{tmp_path}/none")
    assert "SCHEME:NAME" in fails("dump", "none")
    assert "Is a directory" in fails("dump", tmp_path)
    assert "Is a directory" in fails("dump", f"pcap:{tmp_path}")
    assert "--json" in fails("dump", capture, "-w", "-", "--json")
    assert "No space left" in fails("dump", capture, "-w", "/dev/full")
    assert "No such file" in fails("dump", capture, "-w", tmp_path / "no" / "x")


def test_a_damaged_file_shows_what_is_before_the_damage(capture: Path) -> None:
    with capture.open("ab") as file:
        file.write(struct.pack("<IIII", 0, 0, 1 << 30, 60))
    done = run("dump", capture)
    assert done.returncode == 2
    assert done.stdout.splitlines() == LINES
    [error] = done.stderr.splitlines()
    assert "captured length at offset" in error
    assert "1073741824" in error
