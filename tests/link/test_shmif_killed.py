"""Holders of the bus's lock that are killed: nobody else is stopped by that."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from rumphyper.host.process import own_token, token_of
from rumphyper.ring.shmif import LOCK_WORD, SPARE_WORD, Bus
from tests.link.shmif_lock_support import FRAME, LOCK, drain, set_lock
from tests.link.shmif_support import expect, frame_of, open_bus, spawn, tell

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
