"""Block I/O, side by side."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.families.bio import BIODONE, LANES
from tests.hypercalls.blocks import BLOCK, READ, SYNC, WRITE
from tests.hypercalls.stock.sides import Side, differ, differ_alone

pytestmark = pytest.mark.rump

AWAY = ["hyp_backend_unschedule", "hyp_backend_schedule"]


class Requests:
    """Requests of one side, and what biodone was told of each."""

    def __init__(self, side: Side, before: Callable[[int], object]) -> None:
        self.side = side
        self.done: queue.Queue[tuple[int, int, int]] = queue.Queue()
        self.data = ctypes.create_string_buffer(4 * BLOCK)
        self.workers: set[int] = set()

        def biodone(donearg: int, octets: int, error: int) -> None:
            before(donearg)
            self.workers.add(threading.get_ident())
            self.done.put((donearg, octets, error))

        self.biodone = BIODONE(biodone)

    def ask(self, fd: int, op: int, size: int, off: int, arg: int) -> None:
        self.side.call("bio", fd, op, self.data, size, off, self.biodone, arg)

    def wait(self) -> tuple[int, int, int]:
        return self.done.get(timeout=20)


def nothing(donearg: int) -> None:
    """What most biodones do before they note what they are told."""


def test_transfers(sides: tuple[Side, Side], tmp_path: Path) -> None:
    """The same octets, results, upcalls and file."""
    outcomes = []
    shut, (reader, writer) = os.open("/dev/null", os.O_RDONLY), os.pipe()
    full = os.open("/dev/full", os.O_RDWR)
    for side in sides:
        path = tmp_path / side.name
        path.write_bytes(b"".join(bytes([65 + n]) * BLOCK for n in range(8)))
        disk = os.open(path, os.O_RDWR)
        requests = Requests(side, nothing)
        requests.ask(disk, READ, BLOCK, 0, 1)  # makes the thread
        out: list[Any] = [requests.wait()]
        side.kernel.events.clear()
        for number, (fd, op, size, off) in enumerate(
            (
                (disk, READ, 2 * BLOCK, BLOCK),
                (disk, READ | SYNC, 4 * BLOCK, 7 * BLOCK),
                (disk, READ | WRITE, BLOCK, 2 * BLOCK),
                (disk, WRITE, 2 * BLOCK, BLOCK),
                (disk, WRITE | SYNC, BLOCK, 9 * BLOCK),
                (disk, READ, BLOCK, 70 * BLOCK),
                (disk, READ, 0, 0),
                (disk, READ, BLOCK, -BLOCK),
                (4711, READ, BLOCK, 0),
                (-1, WRITE, BLOCK, 0),
                (shut, WRITE, BLOCK, 0),
                (reader, READ, BLOCK, 0),
                (full, WRITE, BLOCK, 0),
            ),
            2,
        ):
            requests.ask(fd, op, size, off, number)
            out.append((requests.wait(), requests.data.raw))
        me = threading.get_ident()
        events = side.kernel.events
        out.append([(name, v) for name, who, v in events if who == me])
        theirs = [(name, v) for name, who, v in events if who != me]
        out.append([event for event in theirs if event[0] == "hyp_backend_schedule"])
        out.append((path.read_bytes(), me in requests.workers))
        outcomes.append(out)
        os.close(disk)
    for fd in (shut, reader, writer, full):
        os.close(fd)
    assert outcomes[0] == outcomes[1]
    *_, mine, theirs, (_, own_thread) = outcomes[0]
    assert [name for name, _ in mine] == AWAY * 13
    assert theirs == [("hyp_backend_schedule", (0, None))] * 13
    assert not own_thread


def test_files_at_a_time(sides: tuple[Side, Side], disk: int, tmp_path: Path) -> None:
    others = [os.open(tmp_path / "disk", os.O_RDWR) for _ in range(2)]
    other = next(fd for fd in others if (fd - disk) % LANES)

    def work(side: Side) -> list[int]:
        go_on = threading.Event()
        requests = Requests(side, lambda arg: go_on.wait(0.2) if arg == 1 else None)
        requests.ask(disk, READ, BLOCK, 0, 1)
        requests.ask(other, READ, BLOCK, 0, 2)
        first = requests.wait()[0]
        go_on.set()
        return [first, requests.wait()[0]]

    assert differ(sides, "rumpuser_bio", work) == ([1, 2], [2, 1])
    for fd in others:
        os.close(fd)


def test_no_operation(sides: tuple[Side, Side], disk: int) -> None:
    def work(side: Side) -> tuple[int, int, int]:
        requests = Requests(side, nothing)
        requests.ask(disk, 0, BLOCK, 0, 1)
        return requests.wait()

    stated = "rumpuser_bio that neither reads nor writes"
    assert differ(sides, stated, work) == ((1, BLOCK, 0), (1, 0, 22))


@pytest.mark.parametrize("call", ["syncfd", "close"])
def test_syncing(sides: tuple[Side, Side], tmp_path: Path, call: str) -> None:
    """Whether what was asked for before is done when the call returns."""

    def work(side: Side) -> int:
        fd = os.open(tmp_path / side.name, os.O_RDWR | os.O_CREAT)
        requests = Requests(side, lambda arg: time.sleep(0.1))
        requests.ask(fd, WRITE, BLOCK, 0, 1)
        requests.ask(fd, READ, BLOCK, 0, 2)
        side.call(call, *((fd, 2, 0, 0) if call == "syncfd" else (fd,)))
        done = requests.done.qsize()
        for _ in range(2):
            requests.wait()
        if call == "syncfd":
            os.close(fd)
        return done

    stock, ours = differ(sides, "rumpuser_close, rumpuser_syncfd", work)
    assert stock < ours == 2


SYNC_FAILS = """
from tests.hypercalls.stock.test_bio import BLOCK, SYNC, WRITE, Requests, nothing
from tests.seccomp import refuse
for number in {numbers}:
    refuse(number, 5)
requests = Requests(side, nothing)
fd = os.memfd_create("disk")
for op in (WRITE, WRITE | SYNC):
    requests.ask(fd, op, BLOCK, 0, op)
    print(*requests.wait())
os._exit(0 if sys.stdout.flush() is None else 1)
"""


def test_failing_sync() -> None:
    numbers = {"x86_64": (74, 75), "aarch64": (82, 83)}[os.uname().machine]
    work = SYNC_FAILS.replace("{numbers}", str(numbers))
    stock, ours = differ_alone("rumpuser_bio with SYNC, which fails", work)
    assert stock == (0, f"2 {BLOCK} 0\n6 {BLOCK} 0\n", "")
    assert ours == (0, f"2 {BLOCK} 0\n6 0 5\n", "")
