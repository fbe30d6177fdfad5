"""Block I/O: order, room, syncing, and the end of its threads."""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from rumphyper.hypercalls.families.bio import LANES, WAITING
from tests.hypercalls.blocks import BLOCK, READ, WRITE, Blocks


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


def test_requests_of_biodone(blocks: Blocks, disk: int) -> None:
    """It may ask for more than there is room for, and sync: nothing hangs."""
    data, count = ctypes.create_string_buffer(BLOCK), WAITING + 10

    def ask_for_more(arg: int) -> None:
        if arg == 1:
            for number in range(count):
                blocks.ask(disk, READ, data, BLOCK, 0, 100 + number)
            assert blocks.setup.call("syncfd", disk, 2, 0, 0) == 0

    blocks.before = ask_for_more
    blocks.ask(disk, READ, data, BLOCK, 0, 1)
    told = blocks.wait(1 + count)
    assert [arg for arg, _, _ in told] == [1, *range(100, 100 + count)]


def test_syncing_does_not_wait_for_others(
    blocks: Blocks, disk: int, tmp_path: Path
) -> None:
    """Another file in the same lane is none of its business."""
    other = os.dup(disk)
    while (other - disk) % LANES:
        os.close(other)
        other = fcntl.fcntl(disk, fcntl.F_DUPFD, other + 1)
    data, go_on = ctypes.create_string_buffer(BLOCK), threading.Event()
    blocks.before = lambda arg: go_on.wait(20)
    blocks.ask(disk, READ, data, BLOCK, 0, 1)
    assert blocks.setup.call("syncfd", other, 2, 0, 0) == 0
    blocks.setup.call("close", other)
    assert blocks.done.empty()
    go_on.set()
    blocks.wait()


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
