"""Lone frames of a loop on a bus: gathered, and never left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rumphyper.link.shmif_file import BusFile
from rumphyper.link.shmif_gather import FEW, MOST
from tests.link.shmif_support import (
    FRAME,
    expect,
    frame_of,
    open_bus,
    receive,
    spawn,
    tell,
    until,
)

GATHERED = FEW + MOST + MOST // 2


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every loop count as tight, however slow this machine is."""
    monkeypatch.setattr("rumphyper.link.shmif_gather.TIGHT_NS", 10**9)


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
