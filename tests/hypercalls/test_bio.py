"""Block I/O: what biodone is told, and on which thread."""

from __future__ import annotations

import ctypes
import errno as host
import os
import threading
from pathlib import Path

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.blocks import BLOCK, READ, SYNC, WRITE, Blocks
from tests.hypercalls.support import Setup, run_python


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


NO_THREADS = """
import ctypes, os, threading
from tests.hypercalls.blocks import BLOCK, READ, Blocks
from tests.hypercalls.support import Setup
from tests.seccomp import refuse_threads
setup = Setup()
blocks = Blocks(setup)
data = ctypes.create_string_buffer(BLOCK)
fd = os.open("/dev/zero", os.O_RDWR)
refuse_threads()
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
