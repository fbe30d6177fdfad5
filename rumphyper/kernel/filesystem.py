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

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.constants import failure
from rumphyper.kernel.descriptors import Descriptors, Path, raw_path
from rumphyper.kernel.filelayouts import (
    MNT_RDONLY,
    Entry,
    Mount,
    Stat,
    StatVfs,
    entries,
    mount_of,
)
from rumphyper.kernel.mounting import arguments
from rumphyper.kernel.poll import Timespec
from rumphyper.kernel.transport import SIZES

_AT_FDCWD = -100  # sys/sys/fcntl.h
_AT_SYMLINK_NOFOLLOW = 0x200
_MNT_FORCE = 0x00080000  # sys/sys/fstypes.h
_MNT_NOWAIT = 2
_PATH_MAX = 1024  # sys/sys/syslimits.h


class FileSystem(Descriptors):
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

    # mounting

    def mount(
        self,
        kind: str,
        path: Path,
        source: Path = "",
        *,
        read_only: bool = False,
        data: bytes | None = None,
        **options: Any,
    ) -> None:
        """Mount a file system of NetBSD's type ``kind`` at ``path``.

        ``source`` is a block device of the kernel (see `Kernel.expose`), for
        ``null`` a directory. ``options`` are those of mounting.py: for tmpfs
        ``size`` (octets), ``nodes``, ``uid``, ``gid``, ``mode``. A type that is
        not known there takes its C structure as ``data``. Raises
        UnsupportedError for a type that is unknown or not loaded, else OSError.
        """
        if data is None:
            given = arguments(kind, raw_path(source), options)
        else:
            given = ctypes.create_string_buffer(data, len(data))
        size = 0 if given is None else ctypes.sizeof(given)
        pointer = None if given is None else ctypes.byref(given)
        flags = MNT_RDONLY if read_only else 0
        name = kind.encode()
        result = self._calls.mount(name, raw_path(path), flags, pointer, SIZES[size])
        if result == -Errno.ENODEV:
            raise UnsupportedError(
                f"mounting {kind}",
                "the kernel has no such file system",
                f"boot with {kind!r} among the components",
            )
        if result < 0:
            raise failure(-result, path)

    def unmount(self, path: Path, force: bool = False) -> None:
        """Unmount what is mounted at ``path``; ``force`` also when it is in use."""
        self._do("unmount", path, _MNT_FORCE if force else 0)

    def mounts(self) -> list[Mount]:
        """What is mounted now."""
        count = self._calls.do("getvfsstat", None, SIZES[0], _MNT_NOWAIT)
        room = (StatVfs * (count + 4))()
        count = self._calls.do(
            "getvfsstat", room, SIZES[ctypes.sizeof(room)], _MNT_NOWAIT
        )
        return [mount_of(one) for one in room[:count]]
