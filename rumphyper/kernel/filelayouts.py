"""The structures of NetBSD's file calls, as Python values.

Layouts: NetBSD sys/sys/stat.h (struct stat, version 50), sys/sys/dirent.h,
sys/sys/statvfs.h (struct statvfs), sys/sys/fcntl.h (O_*). ctypes lays them out
by the host's C rules, which are those the kernel's libraries were compiled by.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

import attrs

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.constants import failure
from rumphyper.kernel.poll import Timespec

_OPEN_FLAGS = {
    "O_RDONLY": 0x0,
    "O_WRONLY": 0x1,
    "O_RDWR": 0x2,
    "O_SYNC": 0x80,
    "O_NONBLOCK": 0x4,
    "O_APPEND": 0x8,
    "O_NOFOLLOW": 0x100,
    "O_CREAT": 0x200,
    "O_TRUNC": 0x400,
    "O_EXCL": 0x800,
    "O_NOCTTY": 0x8000,
    "O_DSYNC": 0x10000,
    "O_DIRECT": 0x80000,
    "O_DIRECTORY": 0x200000,
    "O_CLOEXEC": 0x400000,
}
_HOST_FLAGS = {
    int(getattr(os, name)): number
    for name, number in _OPEN_FLAGS.items()
    if hasattr(os, name)
}
_IGNORED = getattr(os, "O_LARGEFILE", 0) | getattr(os, "O_NOATIME", 0)
O_NOSIGPIPE = 0x01000000

MNT_RDONLY, MNT_NOSUID = 0x1, 0x8  # sys/sys/fstypes.h


def open_flags(flags: int) -> int:
    """NetBSD's O_* for the host's; OSError(EINVAL) for what it has not."""
    number = O_NOSIGPIPE
    rest = flags & ~_IGNORED
    # Linux's O_SYNC holds the bit of O_DSYNC: the widest first.
    for host, netbsd in sorted(_HOST_FLAGS.items(), reverse=True):
        if host and rest & host == host:
            number |= netbsd
            rest &= ~host
    if rest:
        raise failure(Errno.EINVAL)
    return number


class Stat(ctypes.Structure):
    """struct stat."""

    _fields_ = [
        ("dev", ctypes.c_uint64),
        ("mode", ctypes.c_uint32),
        ("ino", ctypes.c_uint64),
        ("nlink", ctypes.c_uint32),
        ("uid", ctypes.c_uint32),
        ("gid", ctypes.c_uint32),
        ("rdev", ctypes.c_uint64),
        ("atim", Timespec),
        ("mtim", Timespec),
        ("ctim", Timespec),
        ("birthtim", Timespec),
        ("size", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        ("blksize", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("gen", ctypes.c_uint32),
        ("spare", ctypes.c_uint32 * 2),
    ]

    def result(self) -> os.stat_result:
        """As os.stat gives it; modes have the same bits on both systems."""
        times = (self.atim, self.mtim, self.ctim)
        spans = [(time.seconds, time.nanoseconds) for time in times]
        sequence = (
            *(self.mode, self.ino, self.dev, self.nlink, self.uid, self.gid),
            self.size,
            *(seconds for seconds, _ in spans),
        )
        more: dict[str, float] = {
            "st_blksize": self.blksize,
            "st_blocks": self.blocks,
            "st_rdev": self.rdev,
        }
        for letter, (seconds, nanoseconds) in zip("amc", spans, strict=True):
            more[f"st_{letter}time"] = seconds + nanoseconds / 1e9
            more[f"st_{letter}time_ns"] = seconds * 1_000_000_000 + nanoseconds
        return os.stat_result(sequence, more)


@attrs.frozen
class Entry:
    """One name in a directory."""

    name: str
    inode: int
    kind: int
    """The type as a file mode has it (stat.S_IFDIR), 0 when it is not told."""


_DIRENT = struct.Struct("=QHHB")  # and the name; records are 8-byte aligned


def entries(raw: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Names, inodes and types of getdents records, ``.`` and ``..`` left out.

    Raises OSError(EIO) for a record that breaks the format.
    """
    offset = 0
    while offset < len(raw):
        if len(raw) - offset < _DIRENT.size:
            raise failure(Errno.EIO)
        inode, size, length, kind = _DIRENT.unpack_from(raw, offset)
        start = offset + _DIRENT.size
        if size < _DIRENT.size + length or offset + size > len(raw):
            raise failure(Errno.EIO)
        name = raw[start : start + length]
        if inode and name not in (b".", b".."):
            yield name, inode, kind << 12  # sys/sys/dirent.h, DTTOIF
        offset += size


class StatVfs(ctypes.Structure):
    """struct statvfs."""

    _fields_ = [
        ("flag", ctypes.c_ulong),
        ("bsize", ctypes.c_ulong),
        ("frsize", ctypes.c_ulong),
        ("iosize", ctypes.c_ulong),
        ("blocks", ctypes.c_uint64),
        ("bfree", ctypes.c_uint64),
        ("bavail", ctypes.c_uint64),
        ("bresvd", ctypes.c_uint64),
        ("files", ctypes.c_uint64),
        ("ffree", ctypes.c_uint64),
        ("favail", ctypes.c_uint64),
        ("fresvd", ctypes.c_uint64),
        ("io", ctypes.c_uint64 * 4),
        ("fsidx", ctypes.c_int32 * 2),
        ("fsid", ctypes.c_ulong),
        ("namemax", ctypes.c_ulong),
        ("owner", ctypes.c_uint32),
        ("spare", ctypes.c_uint32 * 4),
        ("fstypename", ctypes.c_char * 32),
        ("mntonname", ctypes.c_char * 1024),
        ("mntfromname", ctypes.c_char * 1024),
    ]

    def result(self) -> os.statvfs_result:
        """As os.statvfs gives it."""
        flag = os.ST_RDONLY if self.flag & MNT_RDONLY else 0
        flag |= os.ST_NOSUID if self.flag & MNT_NOSUID else 0
        return os.statvfs_result(
            (
                *(self.bsize, self.frsize, self.blocks, self.bfree, self.bavail),
                *(self.files, self.ffree, self.favail, flag, self.namemax, self.fsid),
            )
        )


@attrs.frozen
class Mount:
    """A mounted file system."""

    kind: str
    """NetBSD's name for its type: ``tmpfs``."""

    path: str
    source: str
    """The block device, or what the type puts there."""

    read_only: bool


def mount_of(one: StatVfs) -> Mount:
    """The `Mount` of a statvfs structure."""
    return Mount(
        kind=one.fstypename.decode(),
        path=os.fsdecode(one.mntonname),
        source=os.fsdecode(one.mntfromname),
        read_only=bool(one.flag & MNT_RDONLY),
    )
