"""The file of a shmif bus: opened, checked, made real and mapped.

What can go wrong with a file goes wrong here, at open, with an error: a full
disk, a directory, a foreign file. What is left is a file that somebody cuts
off while it is mapped, since a touch of what is gone kills with SIGBUS:
`BusFile.check_size` before each batch turns that into an error but for the
few microseconds of the batch itself.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import struct

import attrs

from rumphyper.errors import CorruptError, HostError
from rumphyper.host.libc import from_oserror
from rumphyper.ring.shmif import MAGIC, SIZE, VERSION, VERSION_WORD, VERSIONS

MODE = 0o600
_KIND = struct.Struct("=II")  # magic and version
_WAKE = struct.pack("=I", VERSION)
_NOT_OURS = "choose another path, or remove the file if nobody needs it"
_REMEDIES = {
    errno.EACCES: "bus files have mode 0600: be their owner, or chmod them",
    errno.ENOENT: "check the path; a watcher needs a bus that somebody has made",
    errno.ENOSPC: f"free {SIZE >> 10} KiB there or put the bus elsewhere",
    errno.EDQUOT: f"free {SIZE >> 10} KiB there or put the bus elsewhere",
    errno.EROFS: "put the bus where it can be written, or open it read-only",
}


def _host_error(error: OSError, path: str) -> HostError:
    remedy = _REMEDIES.get(error.errno or 0, _NOT_OURS)
    if error.errno == errno.EACCES:
        try:
            os.stat(path)
        except FileNotFoundError:
            remedy = "put the bus into a folder that you may write to"
        except OSError:
            pass  # nobody can tell what is in that folder
    return from_oserror(error, path, remedy)


@attrs.define(eq=False)
class BusFile:
    """An open and mapped bus file. `close` frees both."""

    path: str
    fd: int
    memory: mmap.mmap
    inode: int

    def check_size(self) -> None:
        """Raise CorruptError when the file no longer holds a whole bus."""
        if os.lseek(self.fd, 0, os.SEEK_END) < SIZE:
            size = os.lseek(self.fd, 0, os.SEEK_END)
            raise CorruptError(
                self.path,
                f"size is {size} octets, the file was cut off while in use",
                "end all users of the bus, remove the file and start again",
            )

    def wake(self) -> None:
        """Tell everybody who watches the file that there is something new.

        The C driver writes its version over the one that is there. HostError.
        """
        try:
            os.pwrite(self.fd, _WAKE, 4 * VERSION_WORD)
        except OSError as error:
            raise _host_error(error, self.path) from None

    def close(self) -> None:
        """Unmap and close; all views of the memory have been released before."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self.memory.close()
            os.close(fd)


def open_bus_file(path: str, *, readonly: bool = False) -> BusFile:
    """Open the bus file at ``path``; make it when it is missing or empty.

    A read-only one is neither made nor changed. Its magic may still be 0: the
    caller has the lock to change that under. Raises HostError, CorruptError.
    """
    try:
        fd, made = _open(path, readonly)
    except OSError as error:
        raise _host_error(error, path) from None
    try:
        if not readonly:
            _make_real(fd, path)
        status = os.fstat(fd)
        if status.st_size != SIZE:
            cause = f"size is {status.st_size} octets, a shmif bus has {SIZE}"
            raise CorruptError(path, cause, _NOT_OURS)
        prot = mmap.PROT_READ | (0 if readonly else mmap.PROT_WRITE)
        memory = mmap.mmap(fd, SIZE, mmap.MAP_SHARED | mmap.MAP_POPULATE, prot)
    except BaseException as error:
        os.close(fd)
        if made:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if isinstance(error, OSError):
            raise _host_error(error, path) from None
        raise
    return BusFile(path, fd, memory, status.st_ino)


def _open(path: str, readonly: bool) -> tuple[int, bool]:
    """Open a regular file; true in the second place when this call made it."""
    flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDONLY if readonly else os.O_RDWR)
    if not readonly:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, MODE), True
        except FileExistsError:
            pass
    # Opening a FIFO or a device may do things: look first. And look again at
    # what was opened, which may be another file.
    _check_kind(os.stat(path), path)
    fd = os.open(path, flags)
    try:
        _check_kind(os.fstat(fd), path)
    except BaseException:
        os.close(fd)
        raise
    return fd, False


def _check_kind(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO"}
    kinds |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "no regular file")
    cause = f"this is {kind}, a shmif bus is a regular file"
    raise CorruptError(path, cause, "choose another path")


def _make_real(fd: int, path: str) -> None:
    """Give a bus file its size and all its blocks, so that no store can fail.

    Nothing is changed in a file that is not, and will not be, a bus.
    """
    status = os.fstat(fd)
    if status.st_size not in (0, SIZE):
        return
    if status.st_size == SIZE:
        magic, version = _KIND.unpack(os.pread(fd, _KIND.size, 0))
        if magic not in (0, MAGIC) or version not in VERSIONS:
            return
    else:
        # At once, as in the C driver: nobody ever sees a size in between.
        os.ftruncate(fd, SIZE)
    if status.st_blocks * 512 >= SIZE:
        return
    try:
        os.posix_fallocate(fd, 0, SIZE)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
