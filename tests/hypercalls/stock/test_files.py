"""Files, side by side."""

from __future__ import annotations

import ctypes
import os
import stat
from ctypes import byref, c_int, c_size_t, c_uint64
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.stock.sides import Side, both, differ, differ_alone, run_both
from tests.hypercalls.test_files import iovecs

pytestmark = pytest.mark.rump


def test_files(sides: tuple[Side, Side], tmp_path: Path) -> None:
    """A sequence of file calls, good and bad, with the same file at its end."""

    def work(side: Side) -> Any:
        path = tmp_path / side.name
        name, fd, done = os.fsencode(path), c_int(-1), c_size_t(99)
        size, kind = c_uint64(99), c_int(99)
        out: list[Any] = []
        for mode in (0, 2, 2 | 4, 2 | 4 | 8, 3, 1 | 16, 2):
            out.append(side.call("open", name, mode, byref(fd)))
        a, b = ctypes.create_string_buffer(b"abcd", 4), ctypes.create_string_buffer(3)
        for parts, offset in (((a, b), 0), ((a,), 100), ((), 5), ((b,), -7)):
            iov = iovecs(*parts)
            result = side.call("iovwrite", fd, iov, len(parts), offset, byref(done))
            out.append((result, done.value))
        into = ctypes.create_string_buffer(200)
        for offset in (0, 2, 98, 1000, -7):
            ctypes.memset(into, 0x55, 200)
            result = side.call("iovread", fd, iovecs(into), 1, offset, byref(done))
            out.append((result, done.value, into.raw))
        for target in (name, bytes(tmp_path), b"/dev/null", b"/none", b"/dev/zero"):
            out.append(side.call("getfileinfo", target, byref(size), byref(kind)))
            out.append(kind.value)
            out.append(size.value if target == name else 0)
        bad = c_int(4711)
        out.append(side.call("iovread", bad, iovecs(into), 1, -1, byref(done)))
        out.append(side.call("close", fd))
        out.append(side.call("close", bad))
        out.append(side.call("open", b"/", 2, byref(fd)))
        out.append(side.call("open", name + b"/x", 0, byref(fd)))
        out.append(side.call("open", b"x" * 5000, 0, byref(fd)))
        out.append((path.read_bytes(), stat.S_IMODE(path.stat().st_mode)))
        return out

    both(sides, work)


def test_streams(sides: tuple[Side, Side]) -> None:
    """Pipes: no offset possible, short reads, a reader that has gone."""

    def work(side: Side) -> Any:
        reader, writer = os.pipe()
        data, done = ctypes.create_string_buffer(b"abc", 3), c_size_t()
        out = [side.call("iovwrite", writer, iovecs(data), 1, -1, byref(done))]
        into = ctypes.create_string_buffer(10)
        out.append(side.call("iovread", reader, iovecs(into), 1, -1, byref(done)))
        out.append((done.value, into.raw[:3]))
        out.append(side.call("iovwrite", writer, iovecs(data), 1, 4, byref(done)))
        os.close(reader)
        out.append(side.call("iovwrite", writer, iovecs(data), 1, -1, byref(done)))
        os.close(writer)
        return out

    results = both(sides, work)
    assert results[-2:] == [Errno.ESPIPE, Errno.EPIPE]


def test_syncfd(sides: tuple[Side, Side], tmp_path: Path) -> None:
    """Every combination of flags and ranges; the stock one keeps the CPU."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    reader, writer = os.pipe()

    def work(side: Side) -> Any:
        side.kernel.events.clear()
        ranges = ((0, 0), (5, 10), (1 << 63, 1 << 63))
        results = [
            side.call("syncfd", descriptor, flags, *span)
            for descriptor in (fd, 4711, -1, writer)
            for flags in range(16)
            for span in ranges
        ]
        return results, bool(side.kernel.events)

    stock, ours = differ(sides, "rumpuser_syncfd", work)
    assert (stock[1], ours[1]) == (False, True)
    named = {0: 0, 22: 0, 9: 0}
    for index, (theirs, mine) in enumerate(zip(stock[0], ours[0], strict=True)):
        assert theirs == mine, index
        named[mine] += 1
    assert all(named.values())
    for descriptor in (fd, reader, writer):
        os.close(descriptor)


def test_positions(sides: tuple[Side, Side], tmp_path: Path) -> None:
    """A transfer at an offset moves the position of the stock library's file."""
    data, done = ctypes.create_string_buffer(b"abcd", 4), c_size_t()

    def work(side: Side) -> int:
        fd = os.open(tmp_path / side.name, os.O_RDWR | os.O_CREAT)
        assert side.call("iovwrite", fd, iovecs(data), 1, 100, byref(done)) == 0
        assert side.call("iovread", fd, iovecs(data), 1, 50, byref(done)) == 0
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.close(fd)
        return position

    assert differ(sides, "rumpuser_iovread, rumpuser_iovwrite", work) == (54, 0)


def test_standard_descriptors() -> None:
    """The process's own are not the kernel's to close."""
    work = """
os.dup2(2, 3)
results = [call("close", fd) for fd in range(3)]
here = [os.path.exists(f"/proc/self/fd/{fd}") for fd in range(3)]
os.write(3, repr((results, here)).encode())
os._exit(0)
"""
    stock, ours = differ_alone("rumpuser_close of descriptors 0 to 2", work)
    assert stock[2] == repr(([0, 0, 0], [False] * 3))
    assert ours[2].endswith(repr(([22, 22, 22], [True] * 3)))


INTERRUPTED = """
import signal
from tests.hypercalls.test_files import iovecs
signal.signal(signal.SIGUSR1, lambda *values: None)
main = threading.get_ident()
timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1))
reader, writer = os.pipe()
buffer, done = ctypes.create_string_buffer(16), c_size_t(77)
timer.start()
print(call("iovread", reader, iovecs(buffer), 1, -1, byref(done)), done.value)
print([name for name, *_ in side.kernel.events])
"""


def test_interrupted() -> None:
    """A signal ends a read that waits, with EINTR; the CPU is back all the same."""
    stock, ours = run_both(INTERRUPTED)
    away = ["hyp_backend_unschedule", "hyp_backend_schedule"]
    assert stock == ours == (0, f"4 77\n{away}\n", "")


NO_DESCRIPTORS = """
import resource
from tests.hypercalls.test_files import iovecs
limit = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
fd, kind, size = c_int(-1), c_int(), ctypes.c_uint64()
print(call("open", b"/dev/null", 0, byref(fd)), fd.value)
print(call("getfileinfo", b"/dev/zero", byref(size), byref(kind)))
print(call("getfileinfo", b"/dev/zero", None, byref(kind)), kind.value)
buffer, done = ctypes.create_string_buffer(16), c_size_t()
print(call("getrandom", buffer, 16, 0, byref(done)), done.value)
"""


def test_no_descriptors_left() -> None:
    """EMFILE where one is needed."""
    stock, ours = run_both(NO_DESCRIPTORS)
    assert stock == ours == (0, "24 -1\n24\n0 4\n0 16\n", "")
