"""The shmif link: what the Link protocol promises, on a bus."""

from __future__ import annotations

import array
import asyncio
import select
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import (
    FrameError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
)
from tests.link.shmif_support import (
    FRAME,
    descriptors,
    frame_of,
    mappings,
    open_bus,
    receive,
)


def test_a_batch_arrives_in_order_at_all_others_and_not_at_its_sender(
    path: Path,
) -> None:
    frames = [frame_of(number) for number in range(100)]
    with open_bus(path) as one, open_bus(path) as two, open_bus(path) as three:
        assert one.send(frames) == 100
        assert two.recv(limit=200, timeout=5) == frames
        assert three.recv(limit=40, timeout=5) == frames[:40]
        assert three.recv(timeout=0) == frames[40:]
        assert one.recv(timeout=0) == []
        assert two.send(frames[:3]) == 3
        assert one.recv(timeout=5) == frames[:3]
        assert two.recv(timeout=0) == []
        assert three.recv(timeout=0) == frames[:3]


def test_counters_and_repr(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME, FRAME])
        one.send([])
        two.recv()
        assert (one.counters.sent, one.counters.sent_bytes) == (2, 120)
        assert (two.counters.received, two.counters.received_bytes) == (2, 120)
        assert two.counters.dropped == 0
        assert repr(one) == f"<ShmifLink shmif:{path}>"
    assert repr(one) == f"<ShmifLink shmif:{path} closed>"


def test_any_buffer_is_a_frame(path: Path) -> None:
    wide = memoryview(array.array("H", range(40)))
    octets = bytes(range(20))
    with open_bus(path) as one, open_bus(path) as two:
        assert one.send([bytearray(octets), memoryview(octets), wide, octets]) == 4
        assert one.send((wide,)) == 1
        assert one.send([bytearray(octets)]) == 1
        got = two.recv(timeout=5)
        assert got == [octets, octets, bytes(wide), octets, bytes(wide), octets]
        assert {type(frame) for frame in got} == {bytes}


@pytest.mark.parametrize("size", [0, 13, 1515, 4096])
@pytest.mark.parametrize("lone", [True, False])
def test_a_frame_that_does_not_fit_stops_its_batch(
    path: Path, size: int, lone: bool
) -> None:
    batch = [bytes(size)] if lone else [FRAME, bytes(size), FRAME]
    with open_bus(path) as one, open_bus(path) as two:
        before = path.read_bytes()
        with pytest.raises(FrameError, match=f"has {size} octets.* 14 to 1514"):
            one.send(batch)
        assert path.read_bytes() == before
        assert one.counters.sent == 0
        assert two.recv(timeout=0) == []


def test_the_mtu_option_admits_longer_frames(path: Path) -> None:
    long = bytes(range(256)) * 255
    with open_bus(path, mtu=65_521) as one, open_bus(path, mtu=9000) as two:
        assert one.max_frame == 65_535
        assert one.send([long] * 5) == 5
        assert receive(two, 5) == [long] * 5
        with pytest.raises(FrameError):
            two.send([long])
    for mtu in (0, 65_522):
        with pytest.raises(LinkstrError, match=f"the MTU is {mtu}"):
            open_bus(path, mtu=mtu)


def test_the_mac_is_local_unless_given(path: Path) -> None:
    with open_bus(path) as one, open_bus(path, mac="02:00:00:00:00:07") as two:
        assert one.mac[:2] == b"\xb2\xa0"
        assert len(one.mac) == 6
        assert two.mac == bytes.fromhex("020000000007")
    with pytest.raises(LinkstrError, match="5 octets"):
        open_bus(path, mac=b"12345")


def test_an_unknown_option_names_the_page_that_lists_them(path: Path) -> None:
    with pytest.raises(LinkstrError, match=r"docs/shmif\.md"):
        open_bus(path, speed=9)


def test_recv_waits_as_long_as_told(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        start = time.monotonic()
        assert two.recv(timeout=0.1) == []
        assert 0.09 < time.monotonic() - start < 1
        start = time.monotonic()
        assert two.recv(timeout=0) == []
        assert time.monotonic() - start < 0.05
        timer = threading.Timer(0.1, one.send, ([FRAME],))
        timer.start()
        assert two.recv() == [FRAME]
        timer.join()
        with pytest.raises(ValueError, match="at least 1"):
            two.recv(limit=0)


def test_close_wakes_a_blocked_receiver_and_is_idempotent(path: Path) -> None:
    link = open_bus(path)
    raised: list[BaseException] = []

    def receive() -> None:
        try:
            link.recv()
        except LinkClosedError as error:
            raised.append(error)

    for _ in range(3):
        link = open_bus(path)
        thread = threading.Thread(target=receive)
        thread.start()
        time.sleep(0.05)
        link.close()
        thread.join(2)
        assert not thread.is_alive()
        link.close()
    assert len(raised) == 3
    assert list(link) == []
    for call in (link.recv, link.fileno, lambda: link.send([FRAME])):
        with pytest.raises(LinkClosedError, match="the link is closed"):
            call()


def test_close_frees_descriptors_and_the_mapping(path: Path) -> None:
    open_bus(path).close()  # what is opened once for all is open now
    before = descriptors()
    links = [open_bus(path), open_bus(path), open_bus(path, readonly=True)]
    assert sorted(mappings(path)) == ["r--s", "rw-s", "rw-s"]
    links[0].send([FRAME])
    links[1].fileno()
    for link in links[1:]:
        assert link.recv(timeout=5) == [FRAME]
        assert link.recv(timeout=0) == []
    for link in links:
        link.close()
    assert mappings(path) == []
    assert descriptors() == before


def test_fileno_is_readable_while_there_is_something(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        poll = select.poll()
        poll.register(two.fileno(), select.POLLIN)
        assert two.recv(timeout=0) == []
        assert poll.poll(0) == []
        one.send([FRAME] * 5)
        assert poll.poll(1000)
        assert len(two.recv(limit=2)) == 2
        assert poll.poll(0)
        assert len(two.recv(limit=2)) == 2
        assert poll.poll(0)
        assert len(two.recv(limit=2)) == 1
        assert poll.poll(0) == []
        # More than is copied at once.
        one.send([bytes(1514)] * 200)
        got = 0
        while poll.poll(0):
            got += len(two.recv(limit=50, timeout=0))
        assert got == 200


def test_fileno_shows_what_was_there_before_it_was_asked_for(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME])
        assert select.select([two], [], [], 1)[0] == [two]
        assert two.recv() == [FRAME]


def test_asyncio_reads_from_fileno(path: Path) -> None:
    async def collect() -> list[bytes]:
        loop = asyncio.get_running_loop()
        got: list[bytes] = []
        done = asyncio.Event()

        def readable() -> None:
            got.extend(two.recv(limit=7, timeout=0))
            if len(got) == 300:
                done.set()

        loop.add_reader(two.fileno(), readable)
        for number in range(0, 300, 10):
            one.send([frame_of(n) for n in range(number, number + 10)])
            await asyncio.sleep(0.001)
        await asyncio.wait_for(done.wait(), 10)
        loop.remove_reader(two.fileno())
        return got

    with open_bus(path) as one, open_bus(path) as two:
        assert asyncio.run(collect()) == [frame_of(n) for n in range(300)]


def test_a_watcher_sees_all_and_changes_nothing(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME])
        with open_bus(path, readonly=True) as watcher:
            two.send([FRAME[::-1]])
            before = path.read_bytes()
            assert watcher.recv(timeout=5) == [FRAME[::-1]]
            assert watcher.recv(timeout=0) == []
            with pytest.raises(LinkError, match="read-only"):
                watcher.send([FRAME])
            assert path.read_bytes() == before
            assert watcher.sender == 0
        with open_bus(path, readonly=True, from_start=True) as watcher:
            packets = watcher.recv_packets(timeout=5)
            assert [p.frame for p in packets] == [FRAME, FRAME[::-1]]
            assert [p.sender for p in packets] == [one.sender, two.sender]
            stamp = packets[0].seconds + packets[0].microseconds / 1e6
            assert 0 <= time.monotonic() - stamp < 60


@pytest.mark.parametrize("readonly", [True, False])
def test_a_dead_bus_is_read_to_its_end(path: Path, readonly: bool) -> None:
    frames = [frame_of(number) for number in range(1000)]
    with open_bus(path) as link:
        for at in range(0, 1000, 50):
            link.send(frames[at : at + 50])
    with open_bus(path, readonly=readonly, follow=False) as link:
        got = list(link)
        assert len(got) > 600
        assert got == frames[-len(got) :]
        with pytest.raises(LinkEndedError, match="all of the bus has been read"):
            link.recv()
        assert select.select([link], [], [], 0)[0] == [link]
    with open_bus(path, readonly=readonly, from_start=True) as link:
        assert receive(link, len(got)) == got
        assert link.recv(timeout=0) == []


def test_a_new_bus_has_no_frames(path: Path) -> None:
    open_bus(path).close()
    with open_bus(path, readonly=True, follow=False) as link:
        assert list(link) == []
    with open_bus(path, from_start=True) as link:
        assert link.recv(timeout=0) == []


def test_a_reader_that_is_lapped_counts_it_and_goes_on(path: Path) -> None:
    one, two = open_bus(path), open_bus(path)
    with one, two, open_bus(path, readonly=True) as watcher:
        frames = [frame_of(number) for number in range(3000)]
        for at in range(0, 3000, 60):
            one.send(frames[at : at + 60])
        for link in (two, watcher):
            got: list[bytes] = []
            while more := link.recv(timeout=0):
                got += more
            assert link.counters.dropped == 1
            assert 600 < len(got) < 3000
            assert got == frames[-len(got) :]
