"""The bus's lock: who holds it, and what happens when that one does not let go."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, LinkClosedError, LinkError
from rumphyper.host.process import own_token, pid_of, token_of
from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import LOCK_WORD, SPARE_WORD, Bus
from tests.link.shmif_support import expect, frame_of, open_bus, spawn, tell, until

FRAME = bytes(60)
LOCK = "rumphyper.link.shmif_lock"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bus"


@pytest.fixture
def link(path: Path) -> Iterator[ShmifLink]:
    """A link that attached while the lock was free."""
    with open_bus(path) as link:
        yield link


@pytest.fixture
def bus(link: ShmifLink) -> Bus:
    """The words of the bus, to look at and to break."""
    return link._bus


def drain(link: ShmifLink) -> list[bytes]:
    """All frames that are there."""
    got: list[bytes] = []
    while more := link.recv(limit=1000, timeout=0):
        got += more
    return got


def set_lock(bus: Bus, value: int, mark: int) -> None:
    bus.words[SPARE_WORD] = mark
    bus.words[LOCK_WORD] = value


def test_the_lock_is_free_and_unmarked_between_calls(path: Path, bus: Bus) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        for link in (one, two):
            link.send([FRAME] * 2)
            link.send([FRAME])
            link.recv(timeout=0)
            assert bus.words[LOCK_WORD] == 0
            assert bus.words[SPARE_WORD] == 0


def test_the_holder_marks_the_lock_with_its_process(path: Path, bus: Bus) -> None:
    seen = []

    def body() -> None:
        seen.append((bus.words[LOCK_WORD], bus.words[SPARE_WORD]))

    with open_bus(path) as link:
        assert link._lock is not None
        link._lock.run(body)
        child = os.fork()
        if not child:
            link._lock.run(body)
            os._exit(int(pid_of(seen[1][1]) != os.getpid()))
        assert os.waitpid(child, 0)[1] == 0
    assert seen == [(1, own_token())]
    assert pid_of(own_token()) == os.getpid()


@pytest.mark.parametrize("value", [2, 7, 0xFFFFFFFF])
def test_a_lock_that_is_neither_0_nor_1(path: Path, bus: Bus, value: int) -> None:
    with open_bus(path) as link, open_bus(path, readonly=True) as watcher:
        link.send([FRAME])
        set_lock(bus, value, 0)
        for call in (
            lambda: link.send([FRAME]),
            lambda: link.recv(timeout=0),
            lambda: watcher.recv(timeout=0),
            lambda: open_bus(path),
        ):
            text = f"{path}: lock is {value:#x}, it is 0 or 1 .*remove the file"
            with pytest.raises(CorruptError, match=text):
                call()
        assert bus.words[LOCK_WORD] == value


# -- a holder that died ------------------------------------------------------

KILLED = """
    import os, signal, sys
    from rumphyper.link import open_link
    from rumphyper.ring import shmif_write
    sys.path.insert(0, ".")
    from tests.link.shmif_support import frame_of
    path, stores, batches, size = sys.argv[1], *map(int, sys.argv[2:])

    class Deadly:
        "Kills this process instead of the store with that number."

        left = -1

        def __init__(self, memory):
            self.memory = memory

        def __getitem__(self, key):
            return self.memory[key]

        def __setitem__(self, key, value):
            if Deadly.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            Deadly.left -= 1
            self.memory[key] = value

        def __buffer__(self, flags):
            return memoryview(self.memory)

    link = open_link("shmif:" + path)
    number = 0
    for _ in range(batches):
        link.send([frame_of(n) for n in range(number, number + size)])
        number += size
    print(number, flush=True)
    sys.stdin.readline()
    bus, lock = link._bus, link._lock
    bus.words = lock._words = Deadly(bus.words)
    bus.length_at = lambda offset, plain=bus.memory: int.from_bytes(
        (plain[32 + offset : 36 + offset] + plain[32:36])[:4], sys.byteorder
    )
    bus.memory = Deadly(bus.memory)
    shmif_write.Writer._run = lambda *_: 1
    Deadly.left = stores
    link.send([frame_of(n) for n in range(number, number + size)])
    print("alive", flush=True)
"""


def number_from(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def kill_in_the_lock(path: Path, stores: int, batches: int, size: int = 60) -> int:
    """Let a process die inside the lock before a store; frames sent before."""
    process = spawn(KILLED, path, stores, batches, size)
    sent = number_from(process)
    tell(process, "go")
    out, _ = process.communicate(timeout=20)
    assert out == ""
    assert process.returncode == -signal.SIGKILL
    return sent


# The stores of a batch: mark, packets, last, no mark; once the bus is full,
# first comes behind the mark. (Around the end of the bus: the test after next.)
@pytest.mark.parametrize(
    ("batches", "stores"),
    [(1, 1), (1, 2), (14, 1), (14, 2), (40, 1), (40, 2), (40, 3)],
)
def test_a_writer_killed_inside_the_lock_does_not_stop_the_bus(
    path: Path, bus: Bus, batches: int, stores: int
) -> None:
    with open_bus(path) as one, open_bus(path) as two:
        sent = kill_in_the_lock(path, stores, batches)
        assert (bus.words[LOCK_WORD], bus.words[SPARE_WORD] != 0) == (1, True)
        assert bus.is_sound()
        start = time.monotonic()
        one.send([b"still alive..."])
        assert time.monotonic() - start < 1
        assert one.taken_over == 1
        assert (bus.words[LOCK_WORD], bus.words[SPARE_WORD]) == (0, 0)
        assert bus.is_sound()
        # Whatever it had put there is there, nothing more, and nothing torn.
        got = drain(two)
        assert got.pop() == b"still alive..."
        assert got == [frame_of(number) for number in range(sent)][-len(got) :]
        assert len(got) == sent if batches < 20 else len(got) > 600
        drain(one)
        two.send([FRAME])
        assert drain(one) == [FRAME]


def test_every_store_of_a_batch_is_survived(path: Path, bus: Bus) -> None:
    """Around the end of the bus, where there are the most of them."""
    batches = 0
    while bus.generation == 0:
        with open_bus(path) as link:
            number = 60 * batches
            link.send([frame_of(n) for n in range(number, number + 60)])
        batches += 1
    path.unlink()
    for stores in range(1, 6):
        with open_bus(path) as one:
            sent = kill_in_the_lock(path, stores, batches - 1)
            assert one._bus.generation == (stores == 5)
            frames = [frame_of(n) for n in range(sent + 60 * (stores == 5))]
            one.send([FRAME])
            assert one.taken_over == 1
            assert one._bus.is_sound()
            with open_bus(path, readonly=True, follow=False) as watcher:
                got = list(watcher)
            assert got.pop() == FRAME
            assert got == frames[-len(got) :]
            assert len(got) > 600
        path.unlink()


@pytest.mark.parametrize("stores", [0, 4])
def test_a_writer_killed_between_lock_and_mark(
    path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch, stores: int
) -> None:
    monkeypatch.setattr(f"{LOCK}.STRANGER_TIMEOUT", 0.1)
    with open_bus(path) as one, open_bus(path) as two:
        # 0: before the mark. 4: it has published and taken its mark away.
        kill_in_the_lock(path, 0 if stores == 0 else 3, 1)
        if stores:
            bus.words[SPARE_WORD] = 0
        start = time.monotonic()
        one.send([b"still alive..."])
        assert 0.1 <= time.monotonic() - start < 5
        assert one.taken_over == 1
        assert bus.is_sound()
        assert two.recv(timeout=5)[-1:] == [b"still alive..."]


def test_a_holder_without_a_mark_is_given_up_and_the_bus_emptied(
    path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOCK}.STRANGER_TIMEOUT", 0.05)
    with open_bus(path) as one, open_bus(path) as two:
        one.send([FRAME] * 3)
        # As a C driver leaves it that died when it had only moved last.
        bus.words[5] = bus.end()
        bus.memory[32 + bus.end() : 32 + bus.end() + 4] = b"\xff\xff\0\0"
        set_lock(bus, 1, 0)
        two.send([b"new" * 5])
        assert two.taken_over == 1
        assert one.recv(timeout=5) == [b"new" * 5]
        assert one.counters.dropped == 1


def test_what_this_end_knows_is_kept(
    path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOCK}.STRANGER_TIMEOUT", 0.05)
    with open_bus(path) as one, open_bus(path) as two, open_bus(path) as late:
        one.send([FRAME] * 3)
        assert two.recv(timeout=5) == [FRAME] * 3
        assert two.recv(timeout=0) == []
        set_lock(bus, 1, 0)
        two.send([FRAME])
        assert two.taken_over == 1
        assert late.recv(timeout=5) == [FRAME] * 4


def test_a_holder_in_another_namespace_cannot_be_judged(
    path: Path, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOCK}.STRANGER_TIMEOUT", 0.1)
    with open_bus(path) as link:
        # Another digest, and a process id that nobody has here.
        set_lock(bus, 1, (own_token() ^ 1 << 31) & ~0x3FFFFF | 0x3FFFFE)
        start = time.monotonic()
        link.send([FRAME])
        assert time.monotonic() - start >= 0.1
        assert link.taken_over == 1


def test_a_process_id_used_again_is_told_from_the_dead_holder(
    path: Path, bus: Bus
) -> None:
    with open_bus(path) as link:
        set_lock(bus, 1, own_token() ^ 1 << 22)  # another start time
        link.send([FRAME])
        assert link.taken_over == 1


def test_only_one_of_many_waiters_takes_a_dead_holders_lock(
    path: Path, bus: Bus
) -> None:
    """Each adds to a plain word of the bus with the lock held."""
    dead = spawn("import os; print(os.getpid())")
    out, _ = dead.communicate()
    adders = [
        spawn(
            """
            import sys
            from rumphyper.link import open_link
            link = open_link("shmif:" + sys.argv[1])
            words = link._bus.words
            def add():
                words[200_000] += 1
            print("ready", flush=True)
            for line in sys.stdin:
                for _ in range(200):
                    link._lock.run(add)
                print(link.taken_over, flush=True)
            """,
            path,
        )
        for _ in range(4)
    ]
    for adder in adders:
        expect(adder, "ready")
    for turn in range(1, 6):
        token = token_of(adders[0].pid) & ~0x3FFFFF | int(out)
        set_lock(bus, 1, token)
        for adder in adders:
            tell(adder, "add")
        assert sum(number_from(adder) for adder in adders) == turn
        assert bus.words[200_000] == turn * 800
    for adder in adders:
        adder.communicate()


# -- a holder that lives -----------------------------------------------------

HOLDER = """
    import sys
    from rumphyper.link import open_link
    link = open_link("shmif:" + sys.argv[1])
    def hold():
        if len(sys.argv) > 2:
            link._bus.words[7] = 0
        print("held", flush=True)
        sys.stdin.readline()
    print("ready", flush=True)
    sys.stdin.readline()
    link._lock.run(hold)
    print("free", flush=True)
"""


def hold(path: Path, *unmarked: str) -> subprocess.Popen[str]:
    process = spawn(HOLDER, path, *unmarked)
    expect(process, "ready")
    tell(process, "hold")
    expect(process, "held")
    return process


def test_a_living_holder_keeps_its_lock(
    path: Path, link: ShmifLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOCK}.HOLDER_TIMEOUT", 0.3)
    with hold(path) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        text = f"{path}: the lock is held by process {holder.pid}, in state T,"
        for _ in range(2):
            with pytest.raises(LinkError, match=text) as caught:
                link.send([FRAME])
        assert "let that process go on" in caught.value.remedy
        os.kill(holder.pid, signal.SIGCONT)
        tell(holder, "free")
        expect(holder, "free")
        link.send([FRAME])
        assert link.taken_over == 0


def test_a_stopped_process_may_be_the_holder_without_a_mark(
    path: Path, link: ShmifLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LOCK}.STRANGER_TIMEOUT", 0.05)
    monkeypatch.setattr(f"{LOCK}.HOLDER_TIMEOUT", 0.3)
    with hold(path, "unmarked") as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(
            LinkError, match=f"held by process {holder.pid}, in state T"
        ):
            link.send([FRAME])
        assert link.taken_over == 0
        os.kill(holder.pid, signal.SIGCONT)
        tell(holder, "free")
        expect(holder, "free")
        link.send([FRAME])


def test_a_waiter_gets_the_lock_when_it_is_free(path: Path, link: ShmifLink) -> None:
    with hold(path) as holder:
        timer = threading.Timer(0.1, tell, (holder, "free"))
        timer.start()
        start = time.monotonic()
        link.send([FRAME])
        assert 0.05 < time.monotonic() - start < 2
        expect(holder, "free")
        timer.join()
        assert link.taken_over == 0


def test_close_ends_the_wait_for_the_lock(path: Path, link: ShmifLink) -> None:
    with hold(path) as holder:
        raised = []

        def receive() -> None:
            try:
                link.recv()
            except LinkClosedError as error:
                raised.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        time.sleep(0.05)
        link.close()
        thread.join(2)
        assert not thread.is_alive()
        assert raised
        tell(holder, "free")


def test_close_waits_to_send_what_was_gathered(
    path: Path, link: ShmifLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rumphyper.link.shmif_gather.TIGHT_NS", 10**9)
    monkeypatch.setattr("rumphyper.link.shmif_gather._Helper.look", lambda _: None)
    with open_bus(path) as reader:
        for _ in range(30):
            link.send([FRAME])
        assert len(drain(reader)) < 30
        with hold(path) as holder:
            timer = threading.Timer(0.1, tell, (holder, "free"))
            timer.start()
            link.close()
            timer.join()
            expect(holder, "free")
        assert len(drain(reader)) > 20


@pytest.mark.parametrize("follow", [True, False])
def test_a_watcher_reads_past_a_lock_that_stays_held(
    path: Path, link: ShmifLink, bus: Bus, follow: bool
) -> None:
    link.send([FRAME] * 3)
    set_lock(bus, 1, 0)
    start = time.monotonic()
    with open_bus(path, readonly=True, from_start=True, follow=follow) as watcher:
        assert watcher.recv(timeout=0) == [FRAME] * 3
        assert 0.4 < time.monotonic() - start < 2
        if follow:
            start = time.monotonic()
            assert watcher.recv(timeout=0) == []
            assert time.monotonic() - start < 0.4
        else:
            assert list(watcher) == []
        set_lock(bus, 0, 0)
        link.send([FRAME])
        if follow:
            assert watcher.recv(timeout=5) == [FRAME]


# -- exceptions out of nowhere -----------------------------------------------


def test_ctrl_c_at_any_time_leaves_the_lock_free(path: Path, bus: Bus) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    got = 0
    old = signal.signal(signal.SIGALRM, interrupt)
    with open_bus(path) as one, open_bus(path) as two:
        try:
            deadline = time.monotonic() + 1.5
            delay = 0
            while time.monotonic() < deadline:
                delay += 1
                try:
                    signal.setitimer(signal.ITIMER_REAL, 20e-6 + delay % 97 * 1e-6)
                    while True:
                        one.send([FRAME] * 3)
                        one.send([FRAME])
                        two.recv(timeout=0)
                except Interrupted:
                    got += 1
                assert (bus.words[LOCK_WORD], bus.words[SPARE_WORD]) == (0, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert got > 100
        assert bus.is_sound()
        one.send([b"after all that"])
        assert until(lambda: b"after all that" in two.recv(limit=500, timeout=0))
