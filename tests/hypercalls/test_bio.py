"""Block I/O: what biodone is told, on which thread, in which order."""

from __future__ import annotations

import ctypes
import errno as host
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.bio import BIODONE, LANES, WAITING
from tests.hypercalls.support import Setup, run_python

READ, WRITE, SYNC = 1, 2, 4
BLOCK = 512


class Blocks:
    """Makes requests and keeps what biodone was told: (donearg, octets, errno)."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.done: queue.Queue[tuple[int, int, int]] = queue.Queue()
        self.threads: list[int] = []
        self.before: Callable[[int], object] = lambda donearg: None
        self._others = set(threading.enumerate())
        self._biodone = BIODONE(self._note)

    def _note(self, donearg: int, octets: int, error: int) -> None:
        self.before(donearg)
        self.threads.append(threading.get_ident())
        self.done.put((donearg, octets, error))

    def ask(self, fd: int, op: int, data: Any, size: int, off: int, arg: int) -> None:
        self.setup.call("bio", fd, op, data, size, off, self._biodone, arg)

    def workers(self) -> list[threading.Thread]:
        """The threads that have been made for requests."""
        new = set(threading.enumerate()) - self._others
        return [thread for thread in new if thread.name.startswith("rumpbio")]

    def wait(self, count: int = 1) -> list[tuple[int, int, int]]:
        return [self.done.get(timeout=20) for _ in range(count)]


@pytest.fixture
def blocks(setup: Setup) -> Blocks:
    return Blocks(setup)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of eight blocks, each of its own octet."""
    path = tmp_path / "disk"
    path.write_bytes(b"".join(bytes([65 + n]) * BLOCK for n in range(8)))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def test_transfers(blocks: Blocks, disk: int) -> None:
    """Octets arrive in memory and in the file; a short read says how short."""
    data = ctypes.create_string_buffer(4 * BLOCK)
    blocks.ask(disk, READ, data, 2 * BLOCK, BLOCK, 1)
    assert blocks.wait() == [(1, 2 * BLOCK, 0)]
    assert data.raw[: 3 * BLOCK] == b"B" * BLOCK + b"C" * BLOCK + bytes(BLOCK)
    ctypes.memset(data, ord("x"), BLOCK)
    for op in (WRITE, WRITE | SYNC):
        blocks.ask(disk, op, data, BLOCK, 3 * BLOCK, 0xFFFF_FFFF_FFFF)
        assert blocks.wait() == [(0xFFFF_FFFF_FFFF, BLOCK, 0)]
    assert os.pread(disk, 3 * BLOCK, 2 * BLOCK) == (
        b"C" * BLOCK + b"x" * BLOCK + b"E" * BLOCK
    )
    blocks.ask(disk, READ, data, 4 * BLOCK, 7 * BLOCK, 2)
    blocks.ask(disk, READ, data, 4 * BLOCK, 70 * BLOCK, 3)
    assert blocks.wait(2) == [(2, BLOCK, 0), (3, 0, 0)]
    assert blocks.setup.reports == []


def test_upcalls(blocks: Blocks, disk: int) -> None:
    """The caller goes without the CPU; the worker gets an lwp, then a CPU each."""
    kernel = blocks.setup.kernel
    data = ctypes.create_string_buffer(BLOCK)
    for _ in range(2):
        blocks.ask(disk, READ, data, BLOCK, 0, 1)
        blocks.wait()
    me = threading.get_ident()
    away = ["hyp_backend_unschedule", "hyp_backend_schedule"]
    assert [name for name, who, _ in kernel.events if who == me] == away * 2
    (worker,) = set(blocks.threads)
    assert worker != me
    blocks.setup.hv.close()
    assert [(name, values) for name, who, values in kernel.events if who == worker] == [
        ("hyp_schedule", ()),
        ("hyp_lwproc_newlwp", (0,)),
        ("hyp_unschedule", ()),
        *[("hyp_backend_schedule", (0, None)), ("hyp_backend_unschedule", (0, None))]
        * 2,
        ("hyp_schedule", ()),
        ("hyp_lwproc_release", ()),
        ("hyp_unschedule", ()),
    ]


def test_failures(blocks: Blocks, tmp_path: Path, disk: int) -> None:
    """Each failure is biodone's NetBSD errno with no octets."""
    data = ctypes.create_string_buffer(BLOCK)
    shut = os.open(tmp_path / "disk", os.O_RDONLY)
    reader, writer = os.pipe()
    full = os.open("/dev/full", os.O_RDWR)
    for fd, op, where, off, error in (
        (4711, READ, data, 0, Errno.EBADF),
        (-1, WRITE, data, 0, Errno.EBADF),
        (shut, WRITE, data, 0, Errno.EBADF),
        (reader, READ, data, 0, Errno.ESPIPE),
        (disk, READ, data, -BLOCK, Errno.EINVAL),
        (disk, READ, None, 0, Errno.EFAULT),
        (disk, 0, data, 0, Errno.EINVAL),
        (disk, SYNC, data, 0, Errno.EINVAL),
        (full, WRITE, data, 0, Errno.ENOSPC),
    ):
        blocks.ask(fd, op, where, BLOCK, off, 5)
        assert blocks.wait() == [(5, 0, error)]
    for fd in (shut, reader, writer, full):
        os.close(fd)
    blocks.setup.call("bio", disk, READ, data, BLOCK, 0, None, 5)
    assert "biodone: it is a null pointer" in blocks.setup.reports[0]


def test_sync_failures(
    blocks: Blocks, disk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be made durable is not written; devices without cache are."""
    data = ctypes.create_string_buffer(BLOCK)
    null = os.open("/dev/null", os.O_RDWR)
    blocks.ask(null, WRITE | SYNC, data, BLOCK, 0, 1)
    assert blocks.wait() == [(1, BLOCK, 0)]
    os.close(null)

    def broken(fd: int) -> None:
        raise OSError(host.EIO, "the disk is gone")

    monkeypatch.setattr(os, "fdatasync", broken)
    blocks.ask(disk, WRITE | SYNC, data, BLOCK, 0, 2)
    blocks.ask(disk, WRITE, data, BLOCK, 0, 3)
    assert blocks.wait(2) == [(2, 0, Errno.EIO), (3, BLOCK, 0)]


def test_order_within_a_file(blocks: Blocks, disk: int) -> None:
    """Requests of one file are done one after the other, as they were made."""
    count = 300
    data = [ctypes.create_string_buffer(b"%8d" % n * 64, BLOCK) for n in range(count)]
    seen = ctypes.create_string_buffer(BLOCK)
    for number in range(count):
        blocks.ask(disk, WRITE, data[number], BLOCK, 0, 2 * number)
        blocks.ask(disk, READ, seen, BLOCK, 0, 2 * number + 1)
    told = blocks.wait(2 * count)
    assert [arg for arg, _, _ in told] == list(range(2 * count))
    assert seen.raw == os.pread(disk, BLOCK, 0) == data[-1].raw


def test_files_do_not_wait_for_each_other(
    blocks: Blocks, disk: int, tmp_path: Path
) -> None:
    """While one is stuck another goes on, if their lanes differ."""
    others = [os.open(tmp_path / "disk", os.O_RDWR) for _ in range(2)]
    other = next(fd for fd in others if (fd - disk) % LANES)
    data, go_on = ctypes.create_string_buffer(BLOCK), threading.Event()
    blocks.before = lambda arg: go_on.wait(20) if arg == 1 else None
    blocks.ask(disk, READ, data, BLOCK, 0, 1)
    blocks.ask(other, READ, data, BLOCK, 0, 2)
    assert blocks.wait() == [(2, BLOCK, 0)]
    go_on.set()
    assert blocks.wait() == [(1, BLOCK, 0)]
    for fd in others:
        os.close(fd)


def test_the_queue_is_bounded(blocks: Blocks, disk: int) -> None:
    """One request too many waits without the virtual CPU until there is room."""
    data, stuck = ctypes.create_string_buffer(BLOCK), threading.Event()
    go_on = threading.Event()

    def hold(arg: int) -> None:
        stuck.set()
        go_on.wait(20)

    blocks.before = hold
    blocks.ask(disk, READ, data, BLOCK, 0, 0)
    assert stuck.wait(20)
    for number in range(WAITING):
        blocks.ask(disk, READ, data, BLOCK, 0, number)
    blocks.setup.kernel.events.clear()
    one_more = threading.Thread(
        target=lambda: blocks.ask(disk, READ, data, BLOCK, 0, 1000)
    )
    one_more.start()
    one_more.join(0.1)
    assert one_more.is_alive()
    assert blocks.setup.kernel.names() == ["hyp_backend_unschedule"]
    go_on.set()
    one_more.join(20)
    assert not one_more.is_alive()
    assert len(blocks.wait(WAITING + 2)) == WAITING + 2


@pytest.mark.parametrize("call", ["syncfd", "close"])
def test_syncing_waits_for_writes(blocks: Blocks, tmp_path: Path, call: str) -> None:
    """syncfd and close come after what was asked for before them."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    data = ctypes.create_string_buffer(b"y" * BLOCK, BLOCK)
    blocks.before = lambda arg: time.sleep(0.002)
    for number in range(20):
        blocks.ask(fd, WRITE, data, BLOCK, number * BLOCK, number)
    blocks.setup.call(call, *((fd, 2, 0, 0) if call == "syncfd" else (fd,)))
    assert blocks.done.qsize() == 20
    assert [error for _, _, error in blocks.wait(20)] == [0] * 20
    assert (tmp_path / "file").read_bytes() == b"y" * BLOCK * 20


def test_a_kernel_that_has_stopped(blocks: Blocks, disk: int) -> None:
    """Its virtual CPUs never come back: the end does not wait for that."""
    data, never = ctypes.create_string_buffer(BLOCK), threading.Event()
    blocks.ask(disk, READ, data, BLOCK, 0, 1)
    blocks.wait()
    blocks.setup.kernel.on["hyp_schedule"] = lambda: never.wait(20)
    start = time.monotonic()
    blocks.setup.hv.close()
    assert time.monotonic() - start < 10
    (worker,) = blocks.workers()
    never.set()
    worker.join(20)
    assert not worker.is_alive()


def test_without_threads(disk: int) -> None:
    """RUMP_THREADS=0: done on the caller's thread, before the call returns."""
    setup = Setup(python={"settings": {"RUMP_THREADS": "0"}})
    blocks = Blocks(setup)
    data = ctypes.create_string_buffer(BLOCK)
    blocks.ask(disk, READ, data, BLOCK, BLOCK, 1)
    assert blocks.done.get_nowait() == (1, BLOCK, 0)
    assert blocks.threads == [threading.get_ident()]
    assert [(n, v[0]) for n, _, v in setup.kernel.events] == [
        ("hyp_backend_unschedule", 0),
        ("hyp_backend_schedule", 0),
        ("hyp_backend_unschedule", 0),
        ("hyp_backend_schedule", setup.kernel.locks),
    ]
    assert blocks.workers() == []
    setup.hv.close()


def test_after_the_end(blocks: Blocks, disk: int) -> None:
    """The threads end with the hypervisor; who asks later does the work."""
    data = ctypes.create_string_buffer(BLOCK)
    blocks.ask(disk, READ, data, BLOCK, 0, 1)
    blocks.wait()
    assert blocks.workers()
    blocks.setup.hv.close()
    assert blocks.workers() == []
    blocks.ask(disk, READ, data, BLOCK, 0, 2)
    assert blocks.done.get_nowait() == (2, BLOCK, 0)
    assert blocks.threads[-1] == threading.get_ident()


NO_THREADS = """
import ctypes, os, resource, threading
from tests.hypercalls.support import Setup
from tests.hypercalls.test_bio import BLOCK, READ, Blocks
setup = Setup()
blocks = Blocks(setup)
data = ctypes.create_string_buffer(BLOCK)
fd = os.open("/dev/zero", os.O_RDWR)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
threading.stack_size(1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 28),) * 2)
for number in range(3):
    blocks.ask(fd, READ, data, BLOCK, 0, number)
    print(blocks.done.get_nowait(), blocks.threads[-1] == threading.get_ident())
print(setup.reports)
"""


def test_no_thread_to_be_had() -> None:
    """Then transfers are done by who asks, and that is said once."""
    done = run_python(NO_THREADS)
    assert (done.returncode, done.stderr) == (0, "")
    *transfers, reports = done.stdout.splitlines()
    assert transfers == [f"({number}, {BLOCK}, 0) True" for number in range(3)]
    assert reports.count("rumpuser_bio: can't start new thread") == 1
