"""The XDP link: what goes out, what comes in, how it ends."""

from __future__ import annotations

import contextlib
import os
import select

import pytest
from typing_extensions import Buffer

from rumphyper.errors import (
    FrameError,
)
from rumphyper.link.xdp import open_xdp
from rumphyper.link.xdp_abi import COUNTS, SOL_XDP, STATISTICS
from tests.link.tap_support import (
    MOST,
    arrivals,
    frame,
    gather,
    ip,
    packet_socket,
    some_frames,
    until,
)
from tests.link.veth_support import host, veth
from tests.link.wire_cases import (
    any_buffer_can_be_sent,
    descriptor_tells_of_frames,
    station,
)
from tests.link.xdp_support import both, open_near
from tests.namespace import isolated

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may load an XDP program"
)


@both
@isolated
def test_frames_reach_the_wire_octet_for_octet(mode: str) -> None:
    veth()
    with open_near(mode, entries=64) as link, packet_socket("far") as there:
        sent = 0
        for wanted in (1, 2, 17, 63, 64, 65, 600):
            frames = some_frames(min(wanted, MOST), seed=wanted)
            assert link.send(frames) == len(frames)
            assert arrivals(there, len(frames)) == frames
            sent += len(frames)
        mixed: list[Buffer] = [bytearray(frames[0]), memoryview(frames[1]), frames[2]]
        assert link.send(mixed) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.send([]) == 0
        assert link.counters.sent == sent + 3
        for count in (1, 40, 64, 100):
            assert 0 < (done := link.generate(frames[3], count)) <= count
            assert arrivals(there, done) == [frames[3]] * done
        other = frame(b"another")
        assert until(lambda: link.generate(other, 1) == 1)
        assert arrivals(there, 1) == [other]
        assert link.send(frames[:3]) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.recv(timeout=0) == []


@both
@isolated
def test_frames_of_the_wire_arrive_octet_for_octet(mode: str) -> None:
    veth()
    with open_near(mode, entries=256) as link, packet_socket("far") as there:
        octets = total = 0
        for turn, wanted in enumerate((1, 3, 40, 200, 5, 250, 64, 220)):
            frames = some_frames(min(wanted, MOST), seed=wanted)
            for one in frames:
                there.send(one)
            if turn % 2:
                assert gather(link, len(frames)) == frames
            else:
                found: list[bytes] = []
                while len(found) < len(frames):
                    views = link.recv_views(33, timeout=5)
                    assert 1 <= len(views) <= 33
                    assert all(memoryview(view).readonly for view in views)
                    found += map(bytes, views)
                assert found == frames
            octets += sum(map(len, frames))
            total += len(frames)
        assert link.recv(timeout=0) == []
        assert link.recv(timeout=0.01) == []
        for _ in range(70):
            there.send(frame(b"counted"))
        left = 70
        while left:
            left -= (count := link.count(50, timeout=5))
            assert count
        assert link.counters.received == total + 70
        assert link.counters.received_bytes == octets + 70 * 21
        assert link.counters.dropped == 0
        assert link.queues[0].receiver.in_order
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                link.recv(wrong)


@isolated
def test_any_buffer_can_be_sent() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
        any_buffer_can_be_sent(link, there)


@isolated
def test_twenty_thousand_frames_each_way_between_two_links() -> None:
    veth()
    with open_near(entries=512) as one, open_xdp("far", entries=512) as two:
        frames = some_frames(20_000, seed=9)
        for sender, receiver in ((one, two), (two, one)):
            sent = arrived = 0
            while arrived < len(frames):
                if sent - arrived < 128:
                    sent += sender.send(frames[sent : sent + 100])
                for got in receiver.recv_views(100, timeout=5):
                    assert got == frames[arrived]
                    arrived += 1
            assert sent == arrived == receiver.counters.received
            assert sender.counters.sent_bytes == receiver.counters.received_bytes


@both
@isolated
def test_the_host_behind_the_wire_pings_a_station(mode: str) -> None:
    """It gets no other answer: the host's own stack sees nothing of it."""
    with host("near", "eth0", ["10.9.0.1/24"]) as there:
        ip("address", "add", "10.9.0.2/24", "dev", "near")
        with open_near(mode) as link, station(link, "10.9.0.2/24") as stack:
            ping = ("ping", "-c3", "-i0.01", "-W5", "-s1400", "10.9.0.2")
            assert "3 received" in there.run(*ping)
            found = there.run("ip", "neighbour", "show", "10.9.0.2")
            assert link.mac.hex(":") in found
        assert stack.answered["icmp"] == 3


@isolated
def test_several_queues_and_those_that_are_left_to_the_host() -> None:
    """veth's queues: what goes out by one comes in by the same."""
    veth(queues=3)
    with (
        open_near(queue=1, queues=2) as link,
        packet_socket("near") as beside,
        contextlib.ExitStack() as opened,
    ):
        ends = [
            opened.enter_context(open_xdp("far", queue=queue, receive=False))
            for queue in range(3)
        ]
        for queue in (1, 2, 1):
            assert ends[queue].send([frame(bytes([queue]))] * 50) == 50
            assert select.select([link.fileno()], [], [], 5)[0]
            assert gather(link, 50) == [frame(bytes([queue]))] * 50
        ends[0].send([frame(b"to the host")])
        assert arrivals(beside, 1) == [frame(b"to the host")]
        assert link.recv(timeout=0.02) == []
        for queue in (1, 2):
            ends[queue].send([frame(bytes([queue]))] * 30)
        both = gather(link, 60)
        assert sorted(both) == [frame(b"\1")] * 30 + [frame(b"\2")] * 30
        assert link.send([frame(b"out")]) == 1
        assert link.counters.sent == 1


@isolated
def test_the_descriptor_is_readable_when_a_frame_is_there() -> None:
    veth()
    with open_near() as link, packet_socket("far") as there:
        descriptor_tells_of_frames(link, there)


@both
@isolated
def test_what_is_lost_is_counted_and_the_link_goes_on(mode: str) -> None:
    veth()
    with open_near(mode, entries=64) as link, packet_socket("far") as there:
        (queue,) = link.queues

        def seen() -> int:
            """What the kernel has dealt with: veth itself holds 256 frames only."""
            octets = queue.end.getsockopt(SOL_XDP, STATISTICS, COUNTS.size)
            lost = COUNTS.unpack(octets)[0]
            return link.counters.received + queue.receiver.rx.available() + int(lost)

        for turn in range(3):
            for number in range(300):
                there.send(frame(number.to_bytes(4, "big")))
                if number % 50 == 49:
                    assert until(lambda: seen() == 300 * turn + number + 1)  # noqa: B023
            found = gather(link, 300, timeout=0.1)
            assert found[:64] == [frame(n.to_bytes(4, "big")) for n in range(64)]
            assert link.counters.dropped == 300 * (turn + 1) - link.counters.received


@isolated
def test_frames_that_do_not_fit() -> None:
    veth()
    with open_near() as link:
        assert (link.mtu, link.max_frame) == (1500, 1518)
        for bad in (b"x" * 13, frame(b"x" * 1505)):
            with pytest.raises(FrameError, match="frame 2 of the batch"):
                link.send([frame(b""), frame(b""), bad])
        with pytest.raises(FrameError, match="frame 0 of the batch"):
            link.generate(b"x", 1)
        assert link.counters.sent == 0
    for name in ("near", "far"):
        ip("link", "set", name, "mtu", "9000")
    with open_near("generic") as link, packet_socket("far") as there:
        assert link.mtu == 3822  # what a page holds
        biggest = frame(b"z" * 3822)
        assert link.send([biggest] * 3) == 3
        assert arrivals(there, 3) == [biggest] * 3
        for one in (biggest, frame(b"z" * 8000), frame(b"a")):
            there.send(one)
        assert gather(link, 2) == [biggest, frame(b"a")]
