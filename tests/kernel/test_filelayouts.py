"""Structures of file calls; the kernel's own answers judge in tests/real."""

from __future__ import annotations

import os
import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import UnsupportedError
from rumphyper.kernel.filelayouts import Stat, StatVfs, entries, open_flags
from rumphyper.kernel.mountargs import KINDS, arguments


def record(inode: int, kind: int, name: bytes) -> bytes:
    """A struct dirent, written out by hand: NetBSD sys/sys/dirent.h."""
    size = (13 + len(name) + 1 + 7) & ~7
    head = struct.pack("=QHHB", inode, size, len(name), kind)
    return (head + name).ljust(size, b"\0")


def test_entries() -> None:
    raw = record(1, 4, b".") + record(2, 8, b"file") + record(0, 8, b"gone")
    raw += record(3, 4, b"folder with a longer name")
    assert list(entries(raw)) == [
        (b"file", 2, stat.S_IFREG),
        (b"folder with a longer name", 3, stat.S_IFDIR),
    ]


def test_broken_entries() -> None:
    good = record(2, 8, b"file")
    for bad in (
        good[:10],
        good[:-8],
        good[:8] + b"\0\0" + good[10:],  # a record of no length
        good[:10] + b"\xff\xff" + good[12:],  # a name longer than the record
    ):
        with pytest.raises(OSError, match="error"):
            list(entries(bad))


@given(st.binary(max_size=200))
def test_any_entries(raw: bytes) -> None:
    """Whatever a file system hands over comes to an end."""
    try:
        found = list(entries(raw))
    except OSError:
        return
    assert len(found) <= len(raw) // 13


def test_stat() -> None:
    """Offsets on a 64-bit machine: NetBSD sys/sys/stat.h."""
    if struct.calcsize("P") != 8:
        pytest.skip("offsets are those of a 64-bit machine")
    raw = bytearray(152)
    assert len(raw) == len(bytes(Stat()))
    struct.pack_into("=QI4xQIII4xQ", raw, 0, 11, 0o100644, 12, 2, 3, 4, 13)
    struct.pack_into("=qqqqqqqq", raw, 48, 1, 500_000_000, 2, 7, 3, 8, 4, 9)
    struct.pack_into("=qqi", raw, 112, 9999, 24, 4096)
    found = Stat.from_buffer_copy(raw).result()
    assert (found.st_dev, found.st_ino, found.st_nlink) == (11, 12, 2)
    assert (found.st_uid, found.st_gid, found.st_size) == (3, 4, 9999)
    assert stat.filemode(found.st_mode) == "-rw-r--r--"
    assert (found.st_atime, found.st_atime_ns) == (1.5, 1_500_000_000)
    assert (found.st_mtime_ns, found.st_ctime_ns) == (2_000_000_007, 3_000_000_008)
    assert (found.st_blocks, found.st_blksize, found.st_rdev) == (24, 4096, 13)


def test_statvfs() -> None:
    found = StatVfs(bsize=1, frsize=2, blocks=3, bfree=4, bavail=5, namemax=6, flag=9)
    result = found.result()
    assert (result.f_bsize, result.f_frsize, result.f_blocks) == (1, 2, 3)
    assert (result.f_bfree, result.f_bavail, result.f_namemax) == (4, 5, 6)
    assert result.f_flag == os.ST_RDONLY | os.ST_NOSUID


def test_open_flags() -> None:
    no_signal = 0x01000000
    assert open_flags(os.O_RDONLY) == no_signal
    wanted = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
    assert open_flags(wanted) == no_signal | 0x2 | 0x200 | 0x800 | 0x8
    assert open_flags(os.O_SYNC) == no_signal | 0x80
    assert open_flags(os.O_DSYNC) == no_signal | 0x10000
    with pytest.raises(OSError, match="Invalid"):
        open_flags(os.O_PATH)


def test_mount_arguments() -> None:
    given = arguments("tmpfs", b"", {"size": 5, "nodes": 6, "mode": 0o700})
    assert (given.version, given.size_max, given.nodes_max) == (1, 5, 6)
    assert given.mode == 0o700
    for kind in KINDS:
        arguments(kind, b"/source", {})
    for kind, source, options in (
        ("zfs", b"/dev/x", {}),
        ("ffs", b"", {}),
        ("tmpfs", b"", {"colour": 1}),
        ("msdos", b"/dev/x", {"mask": "rwx"}),
    ):
        with pytest.raises(UnsupportedError):
            arguments(kind, source, options)
