"""The rump kernel's file system, with functions like those of `os`.

Paths are the kernel's: str, bytes or os.PathLike. Descriptors are the kernel's
too, and none of the host's. Flags, modes and results are the host's; errors are
the OSError of the translated errno, with the path in ``filename``.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from typing import Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.constants import failure
from rumphyper.kernel.descriptors import Path, raw_path
from rumphyper.kernel.filelayouts import (
    Entry,
    Stat,
    StatVfs,
    entries,
)
from rumphyper.kernel.mountcalls import Mounting
from rumphyper.kernel.poll import Timespec
from rumphyper.kernel.transport import SIZES

_AT_FDCWD = -100  # sys/sys/fcntl.h
_AT_SYMLINK_NOFOLLOW = 0x200
_PATH_MAX = 1024  # sys/sys/syslimits.h


class FileSystem(Mounting):
    """`kernel.fs`: an os-like namespace over the kernel's files."""

    # looking

    def stat(self, path: Path | int, *, follow_symlinks: bool = True) -> os.stat_result:
        """The state of a file, by path or descriptor."""
        if isinstance(path, int):
            return self.fstat(path)
        found = Stat()
        call = "stat" if follow_symlinks else "lstat"
        self._do(call, path, ctypes.byref(found))
        return found.result()

    def lstat(self, path: Path) -> os.stat_result:
        """The state of a file, of a symbolic link itself."""
        return self.stat(path, follow_symlinks=False)

    def exists(self, path: Path) -> bool:
        """Whether there is something at the path."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def access(self, path: Path, mode: int) -> bool:
        """Whether the kernel would let its process do that (os.R_OK, ...)."""
        return self._calls.access(raw_path(path), mode) == 0

    def scandir(self, path: Path = ".") -> list[Entry]:
        """What is in a directory, with inode and type; ``.`` and ``..`` left out."""
        return [
            Entry(os.fsdecode(name), inode, kind)
            for name, inode, kind in self._entries(path)
        ]

    def listdir(self, path: Path = ".") -> list[Any]:
        """The names in a directory: bytes for a path of bytes, else str."""
        names = [name for name, _, _ in self._entries(path)]
        if isinstance(os.fspath(path), bytes):
            return names
        return [os.fsdecode(name) for name in names]

    def _entries(self, path: Path) -> Iterator[tuple[bytes, int, int]]:
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            room = ctypes.create_string_buffer(16384)
            while True:
                count = self._calls.do("getdents", fd, room, SIZES[len(room)])
                if not count:
                    return
                yield from entries(room.raw[:count])
        finally:
            self.close(fd)

    def readlink(self, path: Path) -> str:
        """Where a symbolic link points to."""
        room = ctypes.create_string_buffer(_PATH_MAX)
        count = self._do("readlink", path, room, SIZES[_PATH_MAX])
        return os.fsdecode(room.raw[:count])

    def getcwd(self) -> str:
        """The current directory of the kernel's process (all threads share it)."""
        room = ctypes.create_string_buffer(_PATH_MAX)
        self._calls.do("__getcwd", room, SIZES[_PATH_MAX])
        return os.fsdecode(room.value)

    def statvfs(self, path: Path) -> os.statvfs_result:
        """The file system that a file is on."""
        found = StatVfs()
        self._do("statvfs1", path, ctypes.byref(found), 1)
        return found.result()

    # changing

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        """Make a directory."""
        self._do("mkdir", path, mode)

    def makedirs(self, path: Path, mode: int = 0o777, exist_ok: bool = False) -> None:
        """Make a directory and those above it that are missing."""
        whole = raw_path(path).rstrip(b"/")
        for end in range(1, len(whole) + 1):
            if end < len(whole) and whole[end : end + 1] != b"/":
                continue
            last = end == len(whole)
            try:
                self.mkdir(whole[:end], mode if last else 0o777)
            except FileExistsError:
                if last and not (exist_ok and self._is_directory(whole)):
                    raise failure(Errno.EEXIST, path) from None

    def _is_directory(self, path: Path) -> bool:
        return self.stat(path).st_mode & 0o170000 == 0o040000

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        self._do("rmdir", path)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self._do("unlink", path)

    remove = unlink

    def rename(self, src: Path, dst: Path) -> None:
        """Give a file another name, in place of what has that name."""
        result = self._calls.rename(raw_path(src), raw_path(dst))
        if result < 0:
            raise failure(-result, src, dst)

    replace = rename

    def link(self, src: Path, dst: Path) -> None:
        """Give a file one more name."""
        result = self._calls.link(raw_path(src), raw_path(dst))
        if result < 0:
            raise failure(-result, src, dst)

    def symlink(self, src: Path, dst: Path) -> None:
        """Make ``dst`` a symbolic link that points to ``src``."""
        result = self._calls.symlink(raw_path(src), raw_path(dst))
        if result < 0:
            raise failure(-result, src, dst)

    def mkfifo(self, path: Path, mode: int = 0o666) -> None:
        """Make a named pipe."""
        self._do("mkfifo", path, mode)

    def truncate(self, path: Path | int, length: int) -> None:
        """Cut a file, or make it longer with zeros; by path or descriptor."""
        size = ctypes.c_int64(length)
        if isinstance(path, int):
            self._calls.do("ftruncate", path, size)
        else:
            self._do("truncate", path, size)

    def chmod(self, path: Path | int, mode: int) -> None:
        """Change the mode of a file, by path or descriptor."""
        if isinstance(path, int):
            self._calls.do("fchmod", path, mode)
        else:
            self._do("chmod", path, mode)

    def chown(self, path: Path | int, uid: int, gid: int) -> None:
        """Change owner and group of a file; -1 leaves one as it is."""
        if isinstance(path, int):
            self._calls.do("fchown", path, *map(ctypes.c_uint, (uid, gid)))
        else:
            self._do("chown", path, *map(ctypes.c_uint, (uid, gid)))

    def utime(
        self,
        path: Path,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """Set the times of access and change, in seconds or nanoseconds."""
        if ns is None:
            now = time.time_ns()
            pair = [now, now] if times is None else [round(one * 1e9) for one in times]
        else:
            pair = list(ns)
        spans = (Timespec * 2)(*(Timespec(*divmod(one, 1_000_000_000)) for one in pair))
        flag = 0 if follow_symlinks else _AT_SYMLINK_NOFOLLOW
        result = self._calls.utimensat(_AT_FDCWD, raw_path(path), spans, flag)
        if result < 0:
            raise failure(-result, path)

    def chdir(self, path: Path) -> None:
        """Change the current directory of the kernel's process."""
        self._do("chdir", path)

    def umask(self, mask: int) -> int:
        """Set the mask of new files' modes; the one before."""
        return self._calls.do("umask", mask)
