"""The TAP link as a link: what goes out, what comes in, and how it ends."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import select
from array import array

import pytest

from rumphyper.errors import (
    FrameError,
)
from rumphyper.host.netif import Netif
from rumphyper.link.tap import open_tap
from tests.link.tap_support import (
    MOST,
    arrivals,
    both,
    frame,
    gather,
    open_io,
    packet_socket,
    some_frames,
)
from tests.namespace import isolated


@both
@isolated
def test_frames_reach_the_host_octet_for_octet(io: str) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        sent = 0
        for wanted in (1, 2, 4, 5, 16, 17, 63, 255, 256, 257, 600):
            count = min(wanted, MOST)
            frames = some_frames(count, seed=count)
            assert link.send(frames) == count
            assert arrivals(host, count) == frames
            sent += count
        assert link.counters.sent == sent
        assert link.send([]) == 0
        with Netif() as netif:
            assert netif.is_up(link.name)


@both
@isolated
def test_frames_of_the_host_arrive_octet_for_octet(io: str) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        octets = 0
        for count in (1, 3, 40, 300, 5, 700):
            frames = some_frames(count, seed=count)
            for one in frames:
                host.send(one)
            assert gather(link, count) == frames
            octets += sum(map(len, frames))
        assert link.recv(timeout=0) == []
        assert link.recv(timeout=0.01) == []
        assert link.counters.received == 1049
        assert link.counters.received_bytes == octets
        assert link.counters.dropped == 0


@both
@isolated
def test_a_burst_waits_in_the_queue_until_it_is_read(io: str) -> None:
    """As many frames as the device's queue holds, with nobody reading."""
    with open_io("tap0", io) as link, packet_socket("tap0") as host, Netif() as netif:
        burst = netif.tx_queue_length("tap0")
        frames = [frame(n.to_bytes(4, "big")) for n in range(burst)]
        for one in frames:
            host.send(one)
        assert gather(link, burst) == frames


@both
@isolated
def test_limits_are_kept(io: str) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        frames = [frame(bytes([n])) for n in range(200)]
        for one in frames:
            host.send(one)
        found: list[bytes] = []
        for limit in (1, 2, 3, 64, 500, 7, 5, 1, 1):
            some = link.recv(limit, timeout=0)
            assert len(some) <= limit
            found += some
        assert found + gather(link, 200 - len(found)) == frames
        for limit in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                link.recv(limit)


@both
@isolated
def test_lent_buffers_hold_their_frames_and_are_read_only(io: str) -> None:
    frames = some_frames(200, seed=1)
    for mtu in (1500, 9000):
        with open_io("tap%d", io, mtu=mtu) as link, packet_socket(link.name) as host:
            for one in frames:
                host.send(one)
            found: list[bytes] = []
            while len(found) < len(frames):
                views = link.recv_views(33, timeout=5)
                assert 1 <= len(views) <= 33
                found += [bytes(view) for view in views]
                for view in views:
                    with pytest.raises(TypeError):
                        memoryview(view)[0] = 0
            assert found == frames
        assert bytes(views[-1]) == frames[-1]  # what is lent outlives the link


@both
@isolated
def test_any_buffer_can_be_sent(io: str) -> None:
    plain = [frame(bytes([n]) * (50 + 2 * n)) for n in range(20)]
    wide = array("H", plain[3])
    spread = memoryview(bytes(octet for octet in plain[4] for _ in range(2)))[::2]
    foreign = (ctypes.c_char * len(plain[5])).from_buffer_copy(plain[5])
    odd: list[object] = [bytearray(plain[0]), memoryview(plain[1]), plain[2]]
    odd += [wide, spread, foreign]
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        for count in (1, len(odd)):
            assert link.send(odd[:count]) == count  # type: ignore[arg-type]
            assert arrivals(host, count) == plain[:count]
        for mixed in ([*odd, *plain[6:]], [memoryview(one) for one in plain]):
            times = min(15, MOST // len(mixed))
            batch = mixed * times
            assert link.send(batch) == len(batch)  # type: ignore[arg-type]
            assert arrivals(host, len(batch)) == plain[: len(mixed)] * times
        assert link.send(tuple(map(bytearray, plain))) == 20
        assert arrivals(host, 20) == plain
        wanted = (
            sum(map(len, plain)) * 31 + len(plain[0]) * 1 + sum(map(len, plain[:6]))
        )
        assert link.counters.sent_bytes == wanted


@both
@isolated
def test_an_unfit_frame_stops_the_whole_batch(io: str) -> None:
    good = frame(b"x" * 46)
    with open_io("tap0", io, mtu=1000) as link, packet_socket("tap0") as host:
        assert link.mtu == 1000
        assert link.max_frame == 1018
        for bad in (
            b"",
            b"x" * 13,
            b"x" * 1019,
            array("H", [0] * 510),
            array("H", [0] * 6),
        ):
            for position in (0, 3, 20):
                batch = [good] * position + [bad] + [good] * 5
                with pytest.raises(FrameError, match=f"frame {position} of the batch"):
                    link.send(batch)
        longest = frame(b"y" * 1004)
        assert link.send([longest] * 10) == 10
        assert arrivals(host, 10) == [longest] * 10
        assert link.counters.sent == 10


@both
@isolated
def test_a_frame_that_is_longer_than_the_mtu_was_is_dropped_and_counted(
    io: str,
) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host, Netif() as netif:
        netif.set_mtu("tap0", 9000)
        good = [frame(bytes([n]) * 100) for n in range(3)]
        for one in (good[0], frame(b"z" * 8000), good[1], frame(b"z" * 4000), good[2]):
            host.send(one)
        assert gather(link, 3) == good
        assert link.counters.dropped == 2
        assert link.counters.received == 3
        host.send(frame(b"z" * 8000))
        assert link.recv(timeout=0.05) == []


@both
@isolated
def test_every_mtu_of_the_device_works(io: str) -> None:
    for mtu in (68, 1500, 9000, 65521):
        with open_io("tap%d", io, mtu=mtu) as link, packet_socket(link.name) as host:
            biggest = frame(random.Random(mtu).randbytes(mtu))
            assert link.send([biggest] * 20) == 20
            assert arrivals(host, 20) == [biggest] * 20
            for _ in range(20):
                host.send(biggest)
            assert gather(link, 20) == [biggest] * 20


@both
@isolated
def test_the_descriptor_is_readable_when_a_frame_is_there(io: str) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        fd = link.fileno()
        assert select.select([fd], [], [], 0)[0] == []
        host.send(frame(b"x"))
        assert select.select([fd], [], [], 5)[0] == [fd]
        assert link.recv() == [frame(b"x")]
        assert select.select([fd], [], [], 0)[0] == []


@isolated
def test_frames_refused_amid_a_batch_are_given_up_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when the device's send buffer was full for a moment."""
    from rumphyper.host.uring_batch import Batch

    refused: list[int] = []
    results = Batch.results

    def some_refused(self: Batch, count: int) -> list[int]:
        found = results(self, count)
        return [-errno.EAGAIN if n in refused else one for n, one in enumerate(found)]

    def never_alike(self: Batch, count: int, length: int) -> bool:
        self.run(count)
        return False

    with open_io("tap0", "uring") as link:
        monkeypatch.setattr(Batch, "results", some_refused)
        monkeypatch.setattr(Batch, "run_alike", never_alike)
        sizes = [*range(60, 70), 100, 100]
        for frames in ([bytes(60)] * 12, [bytes(size) for size in sizes]):
            for refused[:], taken, lost in (
                ([], 12, 0),
                ([3, 4], 12, 2),
                ([11], 11, 0),
                ([2, 10, 11], 10, 1),
                (list(range(12)), 0, 0),
            ):
                before = link.counters.as_dict()
                assert link.send(frames) == taken
                grown = {
                    key: n - before[key] for key, n in link.counters.as_dict().items()
                }
                assert grown["sent"] == taken - lost
                assert grown["dropped"] == lost
                kept = [one for n, one in enumerate(frames[:taken]) if n not in refused]
                assert grown["sent_bytes"] == sum(map(len, kept))


@both
@isolated
def test_native_code_reads_and_writes_beside_the_link(io: str) -> None:
    with open_io("tap0", io) as link, packet_socket("tap0") as host:
        fd = link.frame_fd()
        assert fd is not None
        one = frame(b"in two parts")
        assert os.writev(fd, [one[:14], one[14:]]) == len(one)
        assert arrivals(host, 1) == [one]
        host.send(one)
        assert os.read(fd, 2000) == one
        with pytest.raises(BlockingIOError):
            os.read(fd, 2000)
    with open_tap("tap1", queues=2) as queues:
        assert queues.frame_fd() is None
