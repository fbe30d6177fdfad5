"""The bus's lock: who holds it, and what happens when that one does not let go."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import CorruptError, LinkClosedError, LinkError
from rumphyper.host.process import own_token, pid_of
from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import LOCK_WORD, SPARE_WORD, Bus
from tests.link.shmif_lock_support import FRAME, LOCK, drain, set_lock
from tests.link.shmif_support import expect, open_bus, spawn, tell, until


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
