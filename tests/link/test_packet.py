"""The packet link: what goes out, what comes in, how it ends."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from typing_extensions import Buffer

from rumphyper.errors import (
    FrameError,
    LinkClosedError,
)
from rumphyper.link.packet import open_packet
from tests.link.packet_support import both, open_near, tagged
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
from tests.namespace import isolated


@both
@isolated
def test_frames_reach_the_wire_octet_for_octet(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        sent = 0
        for wanted in (1, 2, 17, 127, 128, 129, 600):
            count = min(wanted, MOST)
            frames = some_frames(count, seed=count)
            assert link.send(frames) == count
            assert arrivals(there, count) == frames
            sent += count
        mixed: list[Buffer] = [bytearray(frames[0]), memoryview(frames[1]), frames[2]]
        assert link.send(mixed) == 3
        assert arrivals(there, 3) == frames[:3]
        assert link.send([]) == 0
        assert link.counters.sent == sent + 3
        # What is sent is not received, neither by us nor from the host's side.
        assert link.recv(timeout=0.05) == []


@both
@isolated
def test_frames_of_the_wire_arrive_octet_for_octet(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        octets = 0
        for turn, count in enumerate((1, 3, 40, 300, 5, 700)):
            frames = some_frames(min(count, MOST), seed=count)
            frames[-1] = tagged(b"v" * 60, tci=0x6FFF)
            for one in frames:
                there.send(one)
            if turn % 2:
                assert gather(link, len(frames)) == frames
            else:
                found: list[bytes] = []
                while len(found) < len(frames):
                    views = link.recv_views(33, timeout=5)
                    assert 1 <= len(views) <= 33
                    found += map(bytes, views)
                    assert all(memoryview(view).readonly for view in views)
                assert found == frames
            octets += sum(map(len, frames))
        assert link.recv(timeout=0) == []
        assert link.counters.received_bytes == octets
        assert link.counters.dropped == 0
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="at least 1"):
                link.recv(wrong)


@both
@isolated
def test_a_frame_that_does_not_fit_stops_the_batch(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        assert (link.mtu, link.max_frame) == (1500, 1518)
        good = frame(b"g")
        for bad in (b"x" * 13, frame(b"x" * 1501), tagged(b"x" * 1501)):
            with pytest.raises(FrameError, match="frame 2 of the batch"):
                link.send([good, good, bad])
        ip("link", "set", "near", "mtu", "1000")
        with pytest.raises(FrameError, match="MTU now allows"):
            link.send([frame(b"x" * 1400)])
        assert link.send([good]) == 1
        assert arrivals(there, 1) == [good]


@isolated
def test_any_buffer_can_be_sent() -> None:
    veth()
    with open_near("mmsg") as link, packet_socket("far") as there:
        any_buffer_can_be_sent(link, there)


@both
@isolated
def test_only_what_comes_in_unless_asked_otherwise(io: str) -> None:
    veth()
    with open_near(io) as link, open_near(io, outgoing=True) as all_of_it:
        link.send([frame(b"of a link")])
        assert gather(all_of_it, 1) == [frame(b"of a link")]
        assert link.recv(timeout=0.05) == []


@both
@isolated
def test_the_host_behind_the_wire_pings_a_station(io: str) -> None:
    with host("near", "eth0", ["10.9.0.1/24"]) as there, open_near(io) as link:
        with station(link, "10.9.0.2/24") as stack:
            said = there.run("ping", "-c3", "-i0.01", "-W5", "-s1400", "10.9.0.2")
        assert "3 received" in said
        assert stack.answered["icmp"] == 3


@both
@isolated
def test_the_descriptor_is_readable_when_a_frame_is_there(io: str) -> None:
    veth()
    with open_near(io) as link, packet_socket("far") as there:
        descriptor_tells_of_frames(link, there)


@both
@isolated
def test_what_is_lost_is_counted(io: str) -> None:
    veth()
    small = 1 << 12 if io == "mmsg" else 1 << 19
    count = 3000
    with open_near(io, buffer=small) as link, packet_socket("far") as there:
        for number in range(count):
            there.send(frame(number.to_bytes(4, "big") * 300))
            if number % 100 == 99:
                time.sleep(0.002)  # the kernel's own backlog holds a thousand
        time.sleep(0.05)
        found = gather(link, count, timeout=0.2)
        assert 0 < len(found) < count
        assert link.counters.received == len(found)
        assert until(lambda: link.recv(timeout=0) == [])
        assert link.counters.dropped == count - len(found)


@both
@isolated
def test_many_threads_of_one_link(io: str) -> None:
    """One sends while two receive, and nothing is lost or doubled."""
    veth()
    total = 5000
    found: list[bytes] = []
    with open_near(io) as link, open_packet("far") as there:

        def take() -> None:
            with contextlib.suppress(LinkClosedError):
                while True:
                    found.extend(link.recv(timeout=5))

        takers = [threading.Thread(target=take) for _ in range(2)]
        for taker in takers:
            taker.start()
        sent = [frame(number.to_bytes(4, "big")) for number in range(total)]
        for start in range(0, total, 50):
            assert there.send(sent[start : start + 50]) == 50
            assert until(lambda: start - len(found) < 500)  # noqa: B023
        assert until(lambda: len(found) == total)
        link.close()
        for taker in takers:
            taker.join(5)
        assert sorted(found) == sorted(sent)
