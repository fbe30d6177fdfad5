"""Sending: counts, rates, full links, captures with their timing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from typing_extensions import Buffer

from rumphyper.errors import CorruptError, FrameError, HostError, LinkError
from rumphyper.gen.flows import Flow, Range, flows
from rumphyper.gen.numbered import PLACE, Ends, Numbered
from rumphyper.gen.pace import Pace
from rumphyper.gen.sources import Capture, Counted, Plain
from rumphyper.gen.tx import ENDS as END_FRAMES
from rumphyper.gen.tx import Transmitter
from rumphyper.link import Link, open_link
from rumphyper.link.pcapwrite import PcapWriter
from tests.bridge.kit import Asked
from tests.link.tap_support import gather, open_fds

ADDRESSES = Ends(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
ONE = [Flow(IPv4Address("10.0.0.1"), 5, IPv4Address("10.1.0.1"), 6)]


def counted(length: int = 60) -> Counted:
    return Counted(Numbered(ADDRESSES, ONE, length, 7))


@contextmanager
def bus(folder: Path) -> Iterator[tuple[Link, Link]]:
    linkstr = f"shmif:{folder}/bus"
    with open_link(linkstr) as one, open_link(linkstr) as other:
        yield one, other


def test_so_many_frames_and_their_end(tmp_path: Path) -> None:
    with bus(tmp_path) as (near, far):
        job = Transmitter(near, counted(), Pace(None, 100), 1001)
        job.run(Asked())
        frames = gather(far, 9999, 0.05)
    assert [int.from_bytes(f[50:58], "big") for f in frames[:1001]] == [*range(1001)]
    assert [f[45] for f in frames] == [0] * 1001 + [1] * END_FRAMES
    assert (job.sent.frames, job.sent.octets, job.sent.full) == (1001, 60060, 0)


def test_a_rate_over_time(tmp_path: Path) -> None:
    """A busy machine may be slower than asked, never faster."""
    with bus(tmp_path) as (near, _):
        job = Transmitter(near, counted(), Pace(2000, 10), None, 0.5)
        begin = time.monotonic()
        shown: list[int] = []
        job.run(Asked(), 0.1, lambda: shown.append(job.sent.frames))
        took = time.monotonic() - begin
    assert took >= 0.5
    assert 100 <= job.sent.frames <= 2000 * took + 10
    assert job.sent.frames % 10 == 0
    assert shown == sorted(shown)
    assert shown


def test_a_rate_that_cannot_be_held(tmp_path: Path) -> None:
    with bus(tmp_path) as (near, _):
        job = Transmitter(near, counted(), Pace(1e11, None), None, 0.1)
        job.run(Asked())
    assert not job.sent.keeps(1e11)
    assert job.sent.keeps(None)
    assert 0 < job.sent.rate < 1e11


class Slow(Link):
    """Takes half of what it is offered, each second time nothing."""

    def __init__(self, wire: Link) -> None:
        super().__init__("slow:", wire.mac, wire.mtu)
        self.wire = wire
        self.turn = 0

    def send(self, frames: Sequence[Buffer]) -> int:
        self.turn += 1
        return self.wire.send(frames[: len(frames) // 2]) if self.turn % 2 else 0

    def recv(self, limit: int = 64, timeout: float | None = None) -> list[bytes]:
        raise AssertionError

    def fileno(self) -> int:
        raise AssertionError

    def _wake(self) -> None:
        pass

    def _release(self) -> None:
        pass


def test_a_full_link_gets_every_frame_once_and_in_order(tmp_path: Path) -> None:
    with bus(tmp_path) as (near, far):
        job = Transmitter(Slow(near), counted(), Pace(None, 64), 200, 0.5)
        job.run(Asked())
        frames = gather(far, 9999, 0.05)
    numbers = [int.from_bytes(f[50:58], "big") for f in frames if not f[45]]
    assert numbers == [*range(len(numbers))]
    assert job.sent.full > 3


def test_the_same_frame_again_and_again(tmp_path: Path) -> None:
    ways = flows(Range(1, 3), Range(9, 9))
    with bus(tmp_path) as (near, far):
        source = Plain(ADDRESSES, ways, PLACE)
        Transmitter(near, source, Pace(None, 4), 10).run(Asked())
        frames = gather(far, 99, 0.05)
    assert [frame[29] for frame in frames] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    with pytest.raises(FrameError, match="42 is the least"):
        Plain(ADDRESSES, ONE, PLACE - 1)


def write(path: Path, times: Sequence[float]) -> list[bytes]:
    frames = [bytes([number]) * 60 for number in range(len(times))]
    with PcapWriter(str(path)) as writer:
        for stamp, frame in zip(times, frames, strict=True):
            writer.send_stamped([(int(stamp * 1e9), frame)])
    return frames


def test_a_capture_with_its_timing(tmp_path: Path) -> None:
    frames = write(tmp_path / "x.pcap", [100, 100.01, 100.01, 100.31, 100.2, 100.21])
    source = Capture(str(tmp_path / "x.pcap"))
    assert source.take(9, 50.0) == frames[:1]
    assert source.take(9, 50.005) == []
    assert abs(source.wait(50.005) - 0.005) < 1e-6
    assert source.take(9, 50.02) == frames[1:3]
    assert source.take(9, 50.30) == []
    assert source.take(1, 50.321) == frames[3:4]  # and time that goes back is none
    assert source.take(9, 50.321) == frames[4:6] or source.take(9, 50.33) == frames[5:]
    assert source.over
    source.close()


def test_a_capture_faster_and_several_times(tmp_path: Path) -> None:
    frames = write(tmp_path / "x.pcap", [0, 1, 2])
    fast = Capture(str(tmp_path / "x.pcap"), speed=10)
    assert fast.take(9, 0.0) == frames[:1]
    assert fast.take(9, 0.15) == frames[1:2]
    assert fast.take(9, 0.25) == frames[2:]
    with bus(tmp_path) as (near, far):
        source = Capture(str(tmp_path / "x.pcap"), speed=0, times=3)
        Transmitter(near, source, Pace(None, None)).run(Asked())
        assert gather(far, 99, 0.05) == frames * 3
        assert source.over


def test_captures_that_cannot_be_sent(tmp_path: Path) -> None:
    before = open_fds()
    path = tmp_path / "x.pcap"
    with pytest.raises(HostError, match="No such file"):
        Capture(str(path))
    path.write_bytes(b"no capture at all, but long enough to be one")
    with pytest.raises(CorruptError):
        Capture(str(path))
    write(path, [])
    with pytest.raises(LinkError, match="no whole Ethernet frame"):
        Capture(str(path))
    write(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-10])
    with bus(tmp_path) as (near, _), pytest.raises(CorruptError):
        Transmitter(near, Capture(str(path), 0), Pace(None, None)).run(Asked())
    assert open_fds() == before
