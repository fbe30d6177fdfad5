"""The DPDK link as a link, on devices that are in memory or in files."""

from __future__ import annotations

import os
import random
import select
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import FrameError, LinkClosedError
from rumphyper.link import open_link
from tests.dpdk.support import alone, check_pools, frame, gather, open_dpdk


def some_frames(count: int, seed: int, most: int = 1500) -> list[bytes]:
    chance = random.Random(seed)
    return [frame(chance.randbytes(chance.randint(0, most))) for _ in range(count)]


@alone
def test_frames_cross_a_ring_octet_for_octet() -> None:
    """What goes out of net_ring's port comes in by the same."""
    with open_dpdk("net_ring0") as link:
        for count in (1, 2, 63, 64, 65, 255, 256, 300):
            frames = some_frames(count, seed=count)
            assert link.send(frames) == count
            assert gather(link, count) == frames
            check_pools(link)
        assert link.recv(timeout=0) == []
        assert link.counters.sent == link.counters.received == 1006
        assert link.counters.sent_bytes == link.counters.received_bytes
        stats = link.stats()
        assert (stats["ipackets"], stats["opackets"]) == (1006, 1006)
        assert link.port.xstats()["rx_good_packets"] == 1006


@alone
def test_views_lend_the_mbufs_until_the_next_call() -> None:
    with open_dpdk("net_ring0") as link:
        frames = some_frames(100, seed=1)
        link.send(frames)
        views = link.recv_views(100, timeout=1)
        assert [bytes(view) for view in views] == frames
        assert memoryview(views[0]).readonly
        assert link.tx_pool.available == link.tx_pool.count - 100
        assert link.recv_views(timeout=0) == []
        check_pools(link)


@alone
def test_buffers_of_any_kind_are_copied() -> None:
    with open_dpdk("net_ring0") as link:
        octets = bytearray(frame(b"one"))
        wide = memoryview(frame(b"two!")).cast("B", (3, 6))
        assert link.send([octets, memoryview(octets), wide]) == 3
        octets[-1:] = b"x"
        want = [frame(b"one"), frame(b"one"), frame(b"two!")]
        assert link.recv(timeout=1) == want
        assert link.send([]) == 0


@alone
def test_frames_that_cannot_be_carried() -> None:
    with open_dpdk("net_ring0") as link:
        for bad in (b"", bytes(13), bytes(link.max_frame + 1)):
            with pytest.raises(FrameError):
                link.send([frame(b"good"), bad])
        assert link.recv(timeout=0) == []
        assert link.send([bytes(14), bytes(link.max_frame)]) == 2
        with pytest.raises(ValueError, match="limit"):
            link.recv(0)


@alone
def test_frames_of_several_mbufs() -> None:
    """Mbufs of 256 octets: a frame is a chain of them."""
    with open_dpdk("net_ring0", buffer=256) as link:
        frames = some_frames(40, seed=3)
        sent: list[bytes] = []
        assert link.send(frames) == 40
        sent += frames
        assert gather(link, 40) == sent
        check_pools(link)
        assert link.send([frame(bytes(1000))]) == 1
        (view,) = link.recv_views(timeout=1)
        assert bytes(view) == frame(bytes(1000))
        link.recv(timeout=0)
        check_pools(link)


@alone
def test_a_pool_without_mbufs_left_takes_fewer() -> None:
    with open_dpdk("net_ring0", mbufs=127) as link:
        frames = some_frames(200, seed=4, most=100)
        taken = link.send(frames)
        assert 64 <= taken <= 127
        while more := link.send(frames[taken:]):
            taken += more
        assert taken == 127
        assert link.send(frames[127:]) == 0
        assert link.counters.sent == 127
        assert gather(link, 127) == frames[:127]
        assert link.send(frames[127:]) == 73
        assert gather(link, 73) == frames[127:]
        check_pools(link)


@alone
def test_net_null_swallows_and_gives() -> None:
    """Its frames are of 64 octets, its driver has as many as one likes."""
    with open_dpdk("net_null0,size=200") as link:
        assert link.send([bytes(60)] * 500) == 500
        frames = link.recv(200)
        assert len(frames) == 200
        assert {len(one) for one in frames} == {200}
        assert len(link.recv_views(32)) == 32
    with open_dpdk("net_null0,no-rx=1") as link:
        assert link.recv(timeout=0.05) == []


@alone
def test_capture_files_are_the_same_octet_for_octet(tmp_path: Path) -> None:
    """What our own pcap link writes DPDK reads, and the other way round."""
    frames = some_frames(500, seed=5)
    here, there = tmp_path / "here.pcap", tmp_path / "there.pcap"
    with open_link(f"pcap:{here}", mode="w") as file:
        assert file.send(frames) == 500
    rest = f"net_pcap0,rx_pcap={here},tx_pcap={there}"
    with open_dpdk(rest) as link:
        arrived = gather(link, 500)
        assert arrived == frames
        assert link.send(arrived) == 500
    with open_link(f"pcap:{there}") as file:
        again: list[bytes] = []
        while len(again) < 500:
            again += file.recv(timeout=1)
    assert again == frames


@alone
def test_close_wakes_a_receiver_and_frees_everything() -> None:
    link = open_dpdk("net_ring0")
    link.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        link = open_dpdk("net_ring0")
        caught: list[BaseException] = []

        def wait(link=link, caught=caught) -> None:  # type: ignore[no-untyped-def]
            try:
                link.recv()
            except LinkClosedError as error:
                caught.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        link.close()
        link.close()
        thread.join(5)
        assert not thread.is_alive()
        assert len(caught) == 1
        for call in (link.recv, link.fileno, link.stop, link.stats):
            with pytest.raises(LinkClosedError):
                call()
        with pytest.raises(LinkClosedError):
            link.send([bytes(60)])
    assert len(os.listdir("/proc/self/fd")) == before


@alone
def test_frames_that_nobody_took_do_not_keep_a_pool() -> None:
    for _ in range(3):
        with open_dpdk("net_ring0") as link:
            assert link.send(some_frames(300, seed=6)) == 300
            assert len(link.recv_views(timeout=1)) == 64


@alone
def test_the_descriptor_is_readable_while_there_are_frames() -> None:
    with open_dpdk("net_ring0") as link:
        fd = link.fileno()
        assert select.select([fd], [], [], 0.05)[0] == []
        frames = some_frames(100, seed=7)
        link.send(frames)
        got: list[bytes] = []
        while len(got) < 100:
            assert select.select([fd], [], [], 5)[0] == [fd]
            got += link.recv(7, timeout=0)
        assert got == frames
        assert select.select([fd], [], [], 0.05)[0] == []
        assert link.counters.received == 100


@alone
def test_one_thread_sends_while_another_receives() -> None:
    """Threads that DPDK does not know become known to it."""
    frames = some_frames(64, seed=8, most=200)
    with open_dpdk("net_ring0") as link:
        got: list[bytes] = []

        def receive() -> None:
            while len(got) < 6400:
                got.extend(link.recv(timeout=5))

        thread = threading.Thread(target=receive)
        thread.start()
        for _ in range(100):
            rest = frames
            while rest:
                rest = rest[link.send(rest) :]
        thread.join(20)
        assert got == frames * 100
        check_pools(link)


@alone
def test_stopped_and_started_again() -> None:
    with open_dpdk("net_ring0") as link:
        link.stop()
        link.stop()
        assert not link.port.started
        assert link.send([bytes(60)]) == 0
        assert link.recv(timeout=0.01) == []
        link.start()
        assert link.send([frame(b"again")]) == 1
        assert link.recv(timeout=1) == [frame(b"again")]
        check_pools(link)


@alone
def test_a_receiver_that_waits_for_ever_does_not_hold_up_a_stop() -> None:
    with open_dpdk("net_ring0") as link:
        got: list[list[bytes]] = []
        thread = threading.Thread(target=lambda: got.append(link.recv()))
        thread.start()
        for _ in range(3):
            time.sleep(0.02)
            link.stop()
            link.start()
        link.send([frame(b"there")])
        thread.join(5)
        assert got == [[frame(b"there")]]
