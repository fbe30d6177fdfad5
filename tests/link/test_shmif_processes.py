"""Processes exchange frames on a bus: ours with ours, and with a C program."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import HEADER_SIZE, LOCK_WORD
from tests.judges import tool
from tests.link.shmif_support import expect, frame_of, open_bus, spawn, tell

BURST = 60

MIRROR = """
    import sys
    sys.path.insert(0, ".")
    from rumphyper.link import open_link
    from tests.link.shmif_support import frame_of
    path, total, burst = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open_link("shmif:" + path) as link:
        print("ready", flush=True)
        for number in range(0, total, 2 * burst):
            got = []
            while len(got) < burst:
                got += link.recv(timeout=10)
            wanted = [frame_of(n) for n in range(number, number + burst)]
            assert got == wanted, number
            link.send([frame_of(n) for n in range(number + burst, number + 2 * burst)])
        assert link.counters.dropped == 0
    print("done", flush=True)
"""


def receive(link: ShmifLink, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        more = link.recv(timeout=10)
        assert more
        got += more
    return got


def test_two_processes_exchange_100_000_frames_of_all_sizes(path: Path) -> None:
    total, burst = 100_200, 150
    assert {len(frame_of(number)) for number in range(1501)} == set(range(14, 1515))
    mirror = spawn(MIRROR, path, total, burst)
    with mirror, open_bus(path) as link:
        expect(mirror, "ready")
        for number in range(0, total, 2 * burst):
            link.send([frame_of(n) for n in range(number, number + burst)])
            wanted = [frame_of(n) for n in range(number + burst, number + 2 * burst)]
            assert receive(link, burst) == wanted
        expect(mirror, "done")
        assert link._bus.generation > 70
        assert link.counters.dropped == 0


def test_a_watcher_beside_a_busy_bus_gets_no_torn_frame(path: Path) -> None:
    """It has no lock and cannot slow the writer down, so it may miss frames."""
    with open_bus(path):
        writer = spawn(
            """
            import sys, time
            sys.path.insert(0, ".")
            from rumphyper.link import open_link
            from tests.link.shmif_support import frame_of
            frames = [frame_of(n) for n in range(3000)]
            with open_link("shmif:" + sys.argv[1]) as link:
                print("ready", flush=True)
                end = time.monotonic() + 1.5
                while time.monotonic() < end:
                    for at in range(0, 3000, 20):
                        link.send(frames[at : at + 20])
                link.send([b"the end of it."])
            """,
            path,
        )
        wanted = [frame_of(n) for n in range(3000)]
        with writer, open_bus(path, readonly=True) as watcher:
            expect(writer, "ready")
            got = 0
            while True:
                frames = watcher.recv(limit=500, timeout=10)
                assert frames
                if frames[-1] == b"the end of it.":
                    break
                for frame in frames:
                    assert frame == wanted[int.from_bytes(frame[:8], "big")]
                got += len(frames)
        assert got > 3000


# -- a C program as the other station ----------------------------------------


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if HEADER_SIZE != 24:
        pytest.skip(f"the C program is for LP64 hosts, not {platform.machine()}")
    program = tmp_path_factory.mktemp("judge") / "judge"
    source = Path(__file__).with_name("shmif_judge.c")
    command = [tool("gcc"), "-O2", "-Wall", "-Wextra", "-Werror"]
    command += ["-o", str(program), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return program


@pytest.fixture
def c_station(judge: Path, path: Path) -> Iterator[CStations]:
    stations = CStations(judge, path)
    yield stations
    stations.end()


class CStations:
    """C programs on the bus, by mode."""

    def __init__(self, judge: Path, path: Path) -> None:
        self.judge = judge
        self.path = path
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, mode: str, number: int = 0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self.judge, self.path, mode, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        expect(process, "ready")
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            process.communicate(timeout=10)


@pytest.mark.parametrize("first", ["c", "python"])
def test_c_receives_what_we_send(c_station: CStations, path: Path, first: str) -> None:
    receiver = c_station.start("recv") if first == "c" else None
    with open_bus(path) as link:
        receiver = receiver or c_station.start("recv")
        for number in range(0, 12_000, 4 * BURST):
            for at in range(number, number + 2 * BURST, 20):
                link.send([frame_of(n) for n in range(at, at + 20)])
            for n in range(number + 2 * BURST, number + 4 * BURST):
                link.send([frame_of(n)])
            tell(receiver, str(4 * BURST))
            expect(receiver, "ok")
        assert link._bus.generation > 8


@pytest.mark.parametrize("readonly", [True, False])
def test_we_receive_what_c_sends(
    c_station: CStations, path: Path, readonly: bool
) -> None:
    sender = c_station.start("send")
    with open_bus(path, readonly=readonly) as link:
        for number in range(0, 12_000, 5 * BURST):
            tell(sender, str(5 * BURST))
            wanted = [frame_of(n) for n in range(number, number + 5 * BURST)]
            assert receive(link, 5 * BURST) == wanted
            expect(sender, "ok")
        assert link._bus.generation > 8
        assert link.counters.dropped == 0


def test_c_and_we_send_at_the_same_time(c_station: CStations, path: Path) -> None:
    """C checks ours while it sends its own; we check C's while we send ours."""
    with open_bus(path) as link:
        both = c_station.start("both")
        for number in range(0, 12_000, 2 * BURST):
            wanted = [frame_of(n) for n in range(number, number + 2 * BURST)]
            tell(both, str(2 * BURST))
            for at in range(0, 2 * BURST, 10):
                link.send(wanted[at : at + 10])
            assert receive(link, 2 * BURST) == wanted
            expect(both, "ok")
        assert link._bus.is_sound()


def test_the_lock_keeps_c_and_python_apart(c_station: CStations, path: Path) -> None:
    with open_bus(path) as link:
        lock, words = link._lock, link._bus.words
        assert lock is not None

        def add() -> None:
            words[8 + 200_000] += 1

        adders = [c_station.start("lock"), c_station.start("lock")]
        for turn in range(1, 6):
            for adder in adders:
                tell(adder, "20000")
            for _ in range(20_000):
                lock.run(add)
            for adder in adders:
                expect(adder, "ok")
            assert words[8 + 200_000] == turn * 60_000


def test_a_c_driver_that_died_in_the_lock(
    c_station: CStations, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rumphyper.link.shmif_lock.STRANGER_TIMEOUT", 0.2)
    with open_bus(path) as link:
        survivor = c_station.start("both")
        link.send([frame_of(n) for n in range(50)])
        tell(survivor, "50")
        assert receive(link, 50) == [frame_of(n) for n in range(50)]
        expect(survivor, "ok")
        victim = c_station.start("die")
        assert victim.wait(10) == -signal.SIGKILL
        assert link._bus.words[LOCK_WORD] == 1
        assert not link._bus.is_sound()
        # Before anybody repairs the bus the C station is already waiting.
        tell(survivor, "0")
        expect(survivor, "ok")
        link.send([b"x" * 20])
        assert link.taken_over == 1
        assert link._bus.is_sound()
        late = c_station.start("both")
        link.send([frame_of(n) for n in range(50)])
        tell(late, "50")
        expect(late, "ok")
        assert receive(link, 50) == [frame_of(n) for n in range(50)]


def test_our_holder_that_died_does_not_stop_c(c_station: CStations, path: Path) -> None:
    with open_bus(path) as link:
        receiver = c_station.start("recv")
        victim = spawn(
            """
            import os, signal, sys
            from rumphyper.link import open_link
            link = open_link("shmif:" + sys.argv[1])
            link._lock.run(lambda: os.kill(os.getpid(), signal.SIGKILL))
            """,
            path,
        )
        assert victim.wait(10) == -signal.SIGKILL
        victim.communicate()
        tell(receiver, "2")  # spins, then sleeps on the dead one's lock
        link.send([frame_of(0), frame_of(1)])
        assert link.taken_over == 1
        expect(receiver, "ok")
    os.stat(path)
