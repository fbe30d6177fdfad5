"""The shmif link: what the Link protocol promises, on a bus."""

from __future__ import annotations

import array
import asyncio
import os
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
from rumphyper.link.shmif import ShmifLink
from rumphyper.link.shmif_file import BusFile
from rumphyper.link.shmif_gather import FEW, MOST
from tests.link.shmif_support import (
    descriptors,
    expect,
    frame_of,
    mappings,
    open_bus,
    spawn,
    tell,
    until,
)

FRAME = bytes.fromhex("ffffffffffff b2a000000001 88b5") + bytes(range(46))


def receive(link: ShmifLink, count: int) -> list[bytes]:
    """The next ``count`` frames."""
    got: list[bytes] = []
    while len(got) < count:
        more = link.recv(limit=count - len(got), timeout=5)
        assert more, f"only {len(got)} of {count} frames"
        got += more
    return got


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus"


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


@pytest.mark.usefixtures("tight")
def test_lone_frames_in_a_loop_arrive_all_and_in_order(path: Path) -> None:
    frames = [frame_of(number) for number in range(5000)]
    with open_bus(path) as one, open_bus(path) as two:
        got: list[bytes] = []
        for at in range(0, 5000, 250):
            for frame in frames[at : at + 240]:
                one.send([frame])
            one.send(frames[at + 240 : at + 245])
            for frame in frames[at + 245 : at + 250]:
                one.send((frame,))
            while len(got) < at + 250:
                got += two.recv(timeout=5)
        assert got == frames
        assert one.counters.sent == 5000


GATHERED = FEW + MOST + MOST // 2


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every loop count as tight, however slow this machine is."""
    monkeypatch.setattr("rumphyper.link.shmif_gather.TIGHT_NS", 10**9)


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[BusFile]:
    """Grows with every wake-up that is sent."""
    wakes: list[BusFile] = []
    wake = BusFile.wake

    def counted(file: BusFile) -> None:
        wakes.append(file)
        wake(file)

    monkeypatch.setattr(BusFile, "wake", counted)
    return wakes


@pytest.mark.usefixtures("tight")
def test_a_loop_wakes_the_others_once_for_many_frames(
    path: Path, monkeypatch: pytest.MonkeyPatch, wakes: list[BusFile]
) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        with monkeypatch.context() as patch:
            patch.setattr("rumphyper.link.shmif_gather._Helper.look", lambda _: None)
            for _ in range(GATHERED):
                one.send([FRAME])
            assert len(wakes) == FEW + 2
        assert receive(two, GATHERED) == [FRAME] * GATHERED
        assert len(wakes) == FEW + 3


@pytest.mark.usefixtures("tight")
def test_without_gathering_every_frame_is_on_the_bus_at_once(
    path: Path, wakes: list[BusFile]
) -> None:
    with open_bus(path, gather=False) as one, open_bus(path) as two:
        for number in range(1, GATHERED + 1):
            one.send([FRAME])
            assert len(wakes) == number
        assert receive(two, GATHERED) == [FRAME] * GATHERED


@pytest.mark.usefixtures("tight")
def test_the_rest_of_a_loop_is_sent_without_another_call(path: Path) -> None:
    # The other process makes sure that nothing in this one pushes it.
    reader = spawn(
        """
        import sys
        from rumphyper.link import open_link
        with open_link("shmif:" + sys.argv[1]) as link:
            print("ready", flush=True)
            got = 0
            while got < int(sys.argv[2]):
                frames = link.recv(timeout=5)
                assert frames, got
                got += len(frames)
            print("all", flush=True)
        """,
        path,
        GATHERED,
    )
    with reader, open_bus(path) as link:
        expect(reader, "ready")
        for _ in range(GATHERED):
            link.send([FRAME])
        expect(reader, "all")


@pytest.mark.parametrize("how", ["link.close()", "del link", "sys.exit()", "os.fork()"])
def test_the_rest_of_a_loop_is_sent_at_the_end(path: Path, how: str) -> None:
    with open_bus(path) as link:
        writer = spawn(
            """
            import os, sys
            from rumphyper.link import open_link
            from rumphyper.link import shmif_gather
            shmif_gather.TIGHT_NS = 10**9
            shmif_gather.PERIOD = 10
            link = open_link("shmif:" + sys.argv[1])
            batch = [bytes(60)]
            for _ in range(int(sys.argv[2])):
                link.send(batch)
            child = 1
            if "fork" in sys.argv[3]:
                child = os.fork()
            else:
                exec(sys.argv[3])
            if child == 0:
                link.send(batch)
                link.close()
                os._exit(0)
            """,
            path,
            GATHERED,
            how,
        )
        assert writer.wait(10) == 0
        writer.communicate()
        count = GATHERED + ("fork" in how)
        got = 0
        while got < count:
            frames = link.recv(limit=1000, timeout=5)
            assert frames, got
            got += len(frames)
        assert link.recv(timeout=0.05) == []
        assert got == count


@pytest.mark.usefixtures("tight")
def test_what_waits_in_one_link_is_seen_by_the_next_in_the_process(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        for _ in range(3):
            for _ in range(GATHERED):
                one.send([FRAME])
            assert two.recv(limit=1000, timeout=0) == [FRAME] * GATHERED
            assert two.recv(timeout=0) == []
        for _ in range(GATHERED):
            one.send([FRAME])
        with open_bus(path, readonly=True, follow=False) as watcher:
            assert len(list(watcher)) == 4 * GATHERED


@pytest.mark.usefixtures("tight")
def test_two_threads_may_send_on_one_link(path: Path) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        frames = [
            [bytes([number]) * 60 + bytes([n]) for n in range(200)] for number in (1, 2)
        ]

        def send(mine: list[bytes]) -> None:
            for frame in mine:
                one.send([frame])
            one.send(mine)

        threads = [threading.Thread(target=send, args=(mine,)) for mine in frames]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        got: list[bytes] = []
        while more := two.recv(timeout=0):
            got += more
        for number in (1, 2):
            assert [f for f in got if f[0] == number] == frames[number - 1] * 2
        assert one.counters.sent == 800


def test_another_processs_write_wakes_a_sleeping_receiver(path: Path) -> None:
    writer = spawn(
        """
        import sys
        from rumphyper.link import open_link
        with open_link("shmif:" + sys.argv[1]) as link:
            print("ready", flush=True)
            for line in sys.stdin:
                link.send([line.encode() * 5])
        """,
        path,
    )
    with writer, open_bus(path) as link:
        expect(writer, "ready")
        for word in ("one", "two", "three"):
            waits = threading.Timer(0.05, tell, (writer, word))
            waits.start()
            assert link.recv(timeout=5) == [f"{word}\n".encode() * 5]
            waits.join()
        assert writer.stdin is not None
        writer.stdin.close()
        assert until(lambda: writer.poll() == 0)
        os.stat(path)
