"""Files of the host.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_file.c.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import Errno, from_oserror, to_netbsd
from rumphyper.hypercalls.families.bio import BlockIO
from rumphyper.hypercalls.families.param import Param
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

ACCESS = {0: os.O_RDONLY, 1: os.O_WRONLY, 2: os.O_RDWR}
ACCESS_MASK, CREATE, EXCL = 3, 4, 8
MODE = 0o644
NOSEEK = -1
OTHER, DIR, REG, BLK, CHR = range(5)
SYNC_READ, SYNC_WRITE = 1, 2
IOV_MAX = 1024
STANDARD = 2
"""The highest descriptor that is the process's own: never closed for a kernel."""


class Files(Family):
    """The host's files, by the host's descriptors.

    Everything that may wait happens without the virtual CPU. A new file gets
    ``mode`` (less the umask). ``settings`` go before the environment, as with
    `Param`; here RUMP_THREADS=0 forbids threads.
    """

    family = "files"

    def __init__(
        self,
        upcalls: Upcalls,
        mode: int = MODE,
        settings: Mapping[str, str | None] | None = None,
    ) -> None:
        self.upcalls = upcalls
        self.mode = mode
        self._blocks = BlockIO(upcalls, Param(settings))
        self.bio = self._blocks.bio
        library = libc()
        number, word, offset = ctypes.c_int, ctypes.c_size_t, ctypes.c_int64

        def function(name: str, *more: Any) -> Callable[..., int]:
            prototype = ctypes.CFUNCTYPE(
                ctypes.c_ssize_t, number, word, number, *more, use_errno=True
            )
            bound: Callable[..., int] = prototype((name, library))
            return bound

        self._readv, self._writev = function("readv"), function("writev")
        self._preadv = function("preadv", offset)
        self._pwritev = function("pwritev", offset)

    def start(self, hypervisor: Hypervisor) -> None:
        """Report where the hypervisor does."""
        self._blocks.reporter = hypervisor.reporter

    def stop(self) -> None:
        """End the threads of block I/O."""
        self._blocks.close()

    def open(self, name: bytes | None, mode: int, fdp: Any) -> int:
        """Open or create a file."""
        flags = ACCESS.get(mode & ACCESS_MASK)
        if flags is None or name is None:
            return Errno.EINVAL
        if mode & CREATE:
            flags |= os.O_CREAT
        if mode & EXCL:
            flags |= os.O_EXCL
        with self.upcalls.away():
            try:
                fdp[0] = os.open(name, flags, self.mode)
            except OSError as error:
                return from_oserror(error)
        return 0

    def close(self, fd: int) -> int:
        """Write out what is cached and close; the result is always 0."""
        if 0 <= fd <= STANDARD:
            raise HypercallError(
                f"descriptor {fd}", "not the kernel's to close", "a bug of the kernel"
            )
        with self.upcalls.away():
            self._blocks.drain(fd)
            try:
                os.fsync(fd)
            except (OSError, ValueError):  # a watch or a pipe: nothing to write out
                pass
            try:
                os.close(fd)
            except OSError:
                pass
        return 0

    def getfileinfo(self, name: bytes | None, size: Any, kind: Any) -> int:
        """Size in octets and kind of a file."""
        if name is None:
            return Errno.EINVAL
        try:
            status = os.stat(name)
            found = _kind(status.st_mode)
            octets = status.st_size
            if found in (BLK, CHR) and size:
                octets = _device_size(name)
                if not octets:
                    return Errno.EOPNOTSUPP
        except OSError as error:
            return from_oserror(error)
        if size:
            size[0] = octets
        if kind:
            kind[0] = found
        return 0

    def iovread(self, fd: int, iov: int, count: int, offset: int, retv: Any) -> int:
        """Read into several buffers, from ``offset`` or from where it stands."""
        return self._transfer(self._readv, self._preadv, fd, iov, count, offset, retv)

    def iovwrite(self, fd: int, iov: int, count: int, offset: int, retv: Any) -> int:
        """Write several buffers, to ``offset`` or to where it stands."""
        return self._transfer(self._writev, self._pwritev, fd, iov, count, offset, retv)

    def _transfer(
        self,
        here: Callable[..., int],
        there: Callable[..., int],
        fd: int,
        iov: int,
        count: int,
        offset: int,
        retv: Any,
    ) -> int:
        # struct rumpuser_iovec is the host's struct iovec, so the array goes
        # through as it is.
        if count > IOV_MAX:
            return Errno.EINVAL
        upcalls = self.upcalls
        locks = upcalls.give_up()
        if offset == NOSEEK:
            done = here(fd, iov, count)
        else:
            done = there(fd, iov, count, offset)
        number = ctypes.get_errno() if done < 0 else 0
        upcalls.take(locks)
        if done < 0:
            return to_netbsd(number)
        retv[0] = done
        return 0

    def syncfd(self, fd: int, flags: int, start: int, length: int) -> int:
        """Write out what is cached, if WRITE is asked for.

        All of the file, and it is waited for: so range, BARRIER and SYNC ask
        for no more. What rumpuser_bio has been told to write comes first.
        """
        if not flags & (SYNC_READ | SYNC_WRITE):
            return Errno.EINVAL
        if flags & SYNC_WRITE:
            if fd < 0:
                return Errno.EBADF
            with self.upcalls.away():
                self._blocks.drain(fd)
                try:
                    os.fsync(fd)
                except OSError as error:
                    return from_oserror(error)
        return 0


def _kind(mode: int) -> int:
    tests = ((stat.S_ISDIR, DIR), (stat.S_ISREG, REG), (stat.S_ISBLK, BLK))
    for test, kind in tests:
        if test(mode):
            return kind
    return CHR if stat.S_ISCHR(mode) else OTHER


def _device_size(name: bytes) -> int:
    """Octets of a device, 0 where seeking to its end does not tell."""
    fd = os.open(name, os.O_RDONLY)
    try:
        return max(0, os.lseek(fd, 0, os.SEEK_END))
    finally:
        os.close(fd)
