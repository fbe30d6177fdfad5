"""Files, and what NetBSD's shmif driver asks for beside them."""

from __future__ import annotations

import ctypes
import errno as host
import os
import stat
import threading
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import Setup

AWAY = ["hyp_backend_unschedule", "hyp_backend_schedule"]


class Iovec(ctypes.Structure):
    """struct rumpuser_iovec."""

    _fields_ = [("base", c_void_p), ("length", c_size_t)]


def iovecs(*buffers: ctypes.Array[ctypes.c_char]) -> ctypes.Array[Iovec]:
    """An array of them over ctypes buffers."""
    return (Iovec * len(buffers))(
        *(Iovec(ctypes.addressof(b), ctypes.sizeof(b)) for b in buffers)
    )


def opened(setup: Setup, path: Path, mode: int) -> tuple[int, int]:
    """Result and descriptor of rumpuser_open."""
    fd = c_int(-1)
    return setup.call("open", os.fsencode(path), mode, byref(fd)), fd.value


def test_open_flags(setup: Setup, tmp_path: Path) -> None:
    """Access, creation and exclusion as asked; failures have NetBSD's errno."""
    path = tmp_path / "file"
    assert opened(setup, path, 2) == (Errno.ENOENT, -1)
    result, fd = opened(setup, path, 2 | 4 | 8)
    assert result == 0
    assert setup.kernel.names() == AWAY * 2
    assert stat.S_IMODE(path.stat().st_mode) & 0o133 == 0
    assert os.write(fd, b"x") == 1
    assert setup.call("close", fd) == 0
    assert opened(setup, path, 2 | 4 | 8) == (Errno.EEXIST, -1)
    assert opened(setup, path, 3) == (Errno.EINVAL, -1)
    assert opened(setup, tmp_path, 1) == (Errno.EISDIR, -1)
    result, fd = opened(setup, path, 0 | 16)
    assert result == 0
    with pytest.raises(OSError, match=f"Errno {host.EBADF}"):
        os.write(fd, b"x")
    setup.call("close", fd)
    assert setup.call("open", None, 0, byref(c_int())) == Errno.EINVAL
    assert setup.call("close", 12345) == 0  # as the stock library has it


def test_close_spares_the_process(setup: Setup) -> None:
    """The process's own standard streams are not the kernel's to close."""
    assert setup.call("close", 1) == Errno.EINVAL
    os.fstat(1)
    assert "not the kernel's to close" in setup.reports[0]


def test_iov(setup: Setup, tmp_path: Path) -> None:
    """Several buffers, with and without offset; counts come back."""
    path = tmp_path / "file"
    _, fd = opened(setup, path, 2 | 4)
    one, two = ctypes.create_string_buffer(b"hello", 5), ctypes.create_string_buffer(3)
    ctypes.memmove(two, b"abc", 3)
    done = c_size_t(99)
    write, read = setup.hv.function("iovwrite"), setup.hv.function("iovread")
    assert write(fd, iovecs(one, two), 2, -1, byref(done)) == 0
    assert done.value == 8
    assert write(fd, iovecs(two), 1, 10, byref(done)) == 0
    assert path.read_bytes() == b"helloabc\0\0abc"
    first, second = ctypes.create_string_buffer(4), ctypes.create_string_buffer(20)
    assert read(fd, iovecs(first, second), 2, 2, byref(done)) == 0
    assert (done.value, first.raw, second.raw[:7]) == (11, b"lloa", b"bc\0\0abc")
    assert read(fd, iovecs(first), 1, 100, byref(done)) == 0
    assert done.value == 0
    setup.kernel.events.clear()
    assert read(4711, iovecs(first), 1, -1, byref(done)) == Errno.EBADF
    assert setup.kernel.names() == AWAY
    assert read(fd, iovecs(first), 1, -2, byref(done)) == Errno.EINVAL
    assert read(fd, iovecs(first), 1 << 40, -1, byref(done)) == Errno.EINVAL
    assert read(fd, c_void_p(1), 1, 0, byref(done)) == Errno.EFAULT
    assert write(fd, iovecs(), 0, 0, byref(done)) == 0
    setup.call("close", fd)
    assert setup.reports == []


def test_full_disk(setup: Setup) -> None:
    """ENOSPC arrives as NetBSD's."""
    result, fd = opened(setup, Path("/dev/full"), 1)
    assert result == 0
    buffer, done = ctypes.create_string_buffer(5), c_size_t()
    assert setup.call("iovwrite", fd, iovecs(buffer), 1, -1, byref(done)) == 28
    setup.call("close", fd)


def info(setup: Setup, path: Path) -> tuple[int, int, int]:
    """Result, size and kind of rumpuser_getfileinfo."""
    size, kind = c_uint64(99), c_int(99)
    result = setup.call("getfileinfo", os.fsencode(path), byref(size), byref(kind))
    return result, size.value, kind.value


def test_getfileinfo(setup: Setup, tmp_path: Path) -> None:
    """Each kind of file; NULL for what is not asked for."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1234)
    assert info(setup, path) == (0, 1234, 2)
    assert info(setup, tmp_path)[::2] == (0, 1)
    assert info(setup, tmp_path / "none") == (Errno.ENOENT, 99, 99)
    assert info(setup, Path("/dev/null")) == (Errno.EOPNOTSUPP, 99, 99)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert info(setup, fifo)[::2] == (0, 0)
    kind = c_int()
    assert setup.call("getfileinfo", b"/dev/null", None, byref(kind)) == 0
    assert kind.value == 4
    assert setup.call("getfileinfo", os.fsencode(path), None, None) == 0


def test_syncfd(setup: Setup, tmp_path: Path) -> None:
    """READ alone does nothing, WRITE syncs, neither is refused."""
    _, fd = opened(setup, tmp_path / "file", 2 | 4)
    assert [setup.call("syncfd", fd, flags, 0, 0) for flags in (1, 2, 3, 14)] == [0] * 4
    assert setup.call("syncfd", fd, 4, 0, 0) == Errno.EINVAL
    setup.call("close", fd)
    assert setup.call("syncfd", fd, 2, 0, 0) == Errno.EBADF


def test_shmif_maps_and_watches(setup: Setup, tmp_path: Path) -> None:
    """Two maps share the file; a write by anybody ends the wait."""
    path = tmp_path / "bus"
    _, fd = opened(setup, path, 2 | 4)
    mmap = setup.hv.function("rumpcomp_shmif_mmap")
    one, two = c_void_p(), c_void_p()
    assert mmap(fd, 1 << 20, byref(one)) == 0
    assert mmap(fd, 1 << 20, byref(two)) == 0
    assert path.stat().st_size == 1 << 20
    assert one.value
    assert two.value
    ctypes.memmove(one.value + 100, b"frame", 5)
    assert ctypes.string_at(two.value + 100, 5) == b"frame"

    handle = c_int(-1)
    assert setup.call("watchsetup", byref(handle), fd) == 0
    watch = handle.value
    assert setup.call("watchsetup", byref(handle), fd) == 0
    assert handle.value == watch
    setup.kernel.events.clear()
    results: list[int] = []
    waits = threading.Thread(
        target=lambda: results.append(setup.call("watchwait", watch))
    )
    waits.start()
    waits.join(0.1)
    assert waits.is_alive()  # a store to memory wakes nobody
    version, done = ctypes.create_string_buffer(b"\3\0\0\0", 4), c_size_t()
    setup.call("iovwrite", fd, iovecs(version), 1, 4, byref(done))
    waits.join(10)
    assert results == [0]
    path.rename(tmp_path / "moved")  # a watch is of the file, not of its name
    os.unlink(tmp_path / "moved")
    setup.call("iovwrite", fd, iovecs(version), 1, 4, byref(done))
    assert setup.call("watchwait", watch) == 0
    for address in (one, two):
        setup.call("unmap", address, 1 << 20)
    for descriptor in (fd, watch):
        setup.call("close", descriptor)
    assert setup.reports == []


def test_shmif_refuses(setup: Setup) -> None:
    """Descriptors that are no files, or no descriptors."""
    address, handle = c_void_p(), c_int(-1)
    assert setup.call("rumpcomp_shmif_mmap", 4711, 4096, byref(address)) == 9
    reader, writer = os.pipe()
    assert setup.call("rumpcomp_shmif_mmap", reader, 4096, byref(address)) == 22
    assert setup.call("watchsetup", byref(handle), 4711) == Errno.EBADF
    assert handle.value == -1
    assert setup.call("watchwait", 4711) == Errno.EBADF
    os.close(reader)
    os.close(writer)
