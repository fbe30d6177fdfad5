"""Reading and writing descriptors of the rump kernel, as `os` does the host's.

What may have to wait (pipes, FIFOs, sockets, terminals) is polled first, in
slices (transport.py), so Ctrl-C works there; regular files are not polled.
"""

from __future__ import annotations

import ctypes
import os
import stat as modes
from collections import deque
from typing import Any

from typing_extensions import Buffer

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.buffers import POOL, Pointer, readable, writable
from rumphyper.kernel.constants import failure
from rumphyper.kernel.filelayouts import O_NOSIGPIPE, Stat, StatVfs, open_flags
from rumphyper.kernel.poll import POLLIN, POLLOUT, wait
from rumphyper.kernel.sockbase import F_GETFL, O_NONBLOCK
from rumphyper.kernel.transport import SIZES, Call, Calls

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_PROMPT = frozenset((modes.S_IFREG, modes.S_IFDIR, modes.S_IFBLK, modes.S_IFLNK))
"""Types of files that never keep a reader waiting for another process."""


def raw_path(path: Path) -> bytes:
    """The octets of a path; ValueError for one with a NUL, TypeError as os."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise ValueError("embedded null byte")
    return raw


class Descriptors:
    """The calls of `FileSystem` that take a descriptor."""

    def __init__(self, calls: Calls, orphans: deque[int]) -> None:
        self._calls = calls
        self._orphans = orphans
        self._prompt: set[int] = set()

    def _do(self, name: str, path: Path, *args: Any) -> int:
        """Make the call on a path; errors carry it as ``filename``."""
        try:
            return self._calls.do(name, raw_path(path), *args)
        except OSError as error:
            error.filename = path
            raise

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        """A descriptor of the kernel; ``flags`` are the host's O_*."""
        while self._orphans:
            self._calls.close(self._orphans.popleft())
        fd = self._calls.open(raw_path(path), open_flags(flags), mode)
        if fd < 0:  # O_NOFOLLOW on a link is EFTYPE, which hosts do not have
            raise failure(Errno.ELOOP if fd == -Errno.EFTYPE else -fd, path)
        if modes.S_IFMT(self._mode(fd)) in _PROMPT:
            self._prompt.add(fd)
        return fd

    def _mode(self, fd: int) -> int:
        found = Stat()
        self._calls.do("fstat", fd, ctypes.byref(found))
        return int(found.mode)

    def is_folder(self, fd: int) -> bool:
        """Whether the descriptor is a directory's."""
        return modes.S_ISDIR(self._mode(fd))

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self._prompt.discard(fd)
        self._calls.do("close", fd)

    def abandon(self, fd: int) -> None:
        """Leave a descriptor to be closed by the next call that makes one."""
        self._prompt.discard(fd)
        self._orphans.append(fd)

    def read(self, fd: int, n: int) -> bytes:
        """At most ``n`` octets; empty at the end."""
        if n < 0:
            raise failure(Errno.EINVAL)
        buffer = POOL.take(n)
        try:
            count = self._transfer(self._calls.read, POLLIN, fd, buffer, n)
            data: bytes = buffer[:count]
            return data
        finally:
            POOL.give(buffer)

    def readinto(self, fd: int, buffer: Buffer) -> int:
        """Read into ``buffer`` without a copy; how many octets."""
        pointer, size = writable(buffer)
        return self._transfer(self._calls.read, POLLIN, fd, pointer, size)

    def write(self, fd: int, data: Buffer) -> int:
        """Write from ``data`` without a copy; how many octets were taken."""
        pointer, size, pinned = readable(data)
        try:
            return self._transfer(self._calls.write, POLLOUT, fd, pointer, size)
        finally:
            if pinned is not None:
                pinned.release()

    def _transfer(
        self, call: Call, events: int, fd: int, pointer: Pointer, size: int
    ) -> int:
        while True:
            if fd not in self._prompt:
                self._wait(fd, events)
            count = call(fd, pointer, SIZES[size])
            if count >= 0:
                return count
            # A socket's own slice (SO_RCVTIMEO) may be over on a blocking one.
            if count == -Errno.EAGAIN and not self._non_blocking(fd):
                continue
            if count != -Errno.EINTR:
                raise failure(-count)

    def _wait(self, fd: int, events: int) -> None:
        """Wait for what may keep a caller waiting, unless it is non-blocking."""
        if not self._non_blocking(fd):
            wait(self._calls, fd, events, None)

    def _non_blocking(self, fd: int) -> bool:
        return bool(self._calls.do("fcntl", fd, F_GETFL, 0) & O_NONBLOCK)

    def pread(self, fd: int, n: int, offset: int) -> bytes:
        """Read at ``offset`` and leave the file's own offset alone."""
        if n < 0:
            raise failure(Errno.EINVAL)
        buffer = POOL.take(n)
        try:
            count = self._calls.do(
                "pread", fd, buffer, SIZES[n], ctypes.c_int64(offset)
            )
            data: bytes = buffer[:count]
            return data
        finally:
            POOL.give(buffer)

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        """Write at ``offset`` and leave the file's own offset alone."""
        pointer, size, pinned = readable(data)
        try:
            place = ctypes.c_int64(offset)
            return self._calls.do("pwrite", fd, pointer, SIZES[size], place)
        finally:
            if pinned is not None:
                pinned.release()

    def lseek(self, fd: int, pos: int, how: int) -> int:
        """Move the offset; where it is then."""
        return self._calls.do("lseek", fd, ctypes.c_int64(pos), how)

    def fsync(self, fd: int) -> None:
        """Write what the kernel holds of a file to its device."""
        self._calls.do("fsync", fd)

    def sync(self) -> None:
        """Write everything to the devices."""
        self._calls.sync()

    def fstat(self, fd: int) -> os.stat_result:
        """The state of an open file."""
        found = Stat()
        self._calls.do("fstat", fd, ctypes.byref(found))
        return found.result()

    def fstatvfs(self, fd: int) -> os.statvfs_result:
        """The file system of an open file."""
        found = StatVfs()
        self._calls.do("fstatvfs1", fd, ctypes.byref(found), 1)
        return found.result()

    def dup(self, fd: int) -> int:
        """Another descriptor for the same file."""
        other = self._calls.do("dup", fd)
        if fd in self._prompt:
            self._prompt.add(other)
        return other

    def pipe(self) -> tuple[int, int]:
        """A pipe: its reading and its writing end."""
        ends = (ctypes.c_int * 2)()
        self._calls.do("pipe2", ends, O_NOSIGPIPE)
        return ends[0], ends[1]

    def set_blocking(self, fd: int, blocking: bool) -> None:
        """Set or clear O_NONBLOCK."""
        flags = self._calls.do("fcntl", fd, F_GETFL, 0)
        flags = flags & ~O_NONBLOCK if blocking else flags | O_NONBLOCK
        self._calls.do("fcntl", fd, 4, flags)

    def get_blocking(self, fd: int) -> bool:
        """Whether O_NONBLOCK is clear."""
        return not self._non_blocking(fd)
