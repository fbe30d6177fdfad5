"""Opening a shared object that exists only in memory.

First by a memfd (memfd_create(2)), where the kernel or a sandbox refuses that by
a temporary file, unlinked once it is open. Needs no writable directory in the
first case, and one that is not mounted noexec in the second.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator

from rumphyper.errors import HostError

_MFD_CLOEXEC, _MFD_EXEC = 1, 0x10
_serial = itertools.count()


def load(octets: bytes, name: str, mode: int) -> ctypes.CDLL:
    """Open the octets of a shared object; return its handle, never to be closed.

    ``name`` is for messages, ``mode`` is RTLD_GLOBAL or RTLD_LOCAL. Functions
    looked up in the handle keep errno and release the GIL. Raises HostError with
    the last cause when neither way works.
    """
    reasons = []
    for way in (_by_memfd, _by_file):
        try:
            return way(octets, name, mode)
        except OSError as error:
            reasons.append(str(error))
    remedy = "allow memfd_create, or set TMPDIR to a directory that may hold programs"
    raise HostError(name, "; ".join(reasons), remedy)


def _by_memfd(octets: bytes, name: str, mode: int) -> ctypes.CDLL:
    fd = _memfd(name)
    try:
        _fill(fd, octets)
        return ctypes.CDLL(_fd_path(fd), mode, use_errno=True)
    finally:
        os.close(fd)


def _memfd(name: str) -> int:
    create: Callable[[str, int], int] | None = getattr(os, "memfd_create", None)
    if create is None:
        raise OSError("this Python lacks memfd_create")
    try:
        # Asked for aloud, or vm.memfd_noexec=1 makes it a file of data only.
        return create(name[:200], _MFD_CLOEXEC | _MFD_EXEC)
    except OSError:
        return create(name[:200], _MFD_CLOEXEC)  # before Linux 6.3


def _fd_path(fd: int) -> str:
    """A path of the descriptor that no earlier load has used.

    The dynamic linker takes a path that it has seen for the library it opened by
    it, although the descriptor's number now means another file. A run of "/" and
    "/." spells a serial number and changes nothing else.
    """
    digits = f"{next(_serial):b}"
    spelt = "".join("/." if digit == "1" else "/" for digit in digits)
    return f"/proc/self/fd/.{spelt}/{fd}"


def _by_file(octets: bytes, name: str, mode: int) -> ctypes.CDLL:
    failure = OSError("no directory for a temporary file")
    for directory in _directories():
        try:
            fd, path = tempfile.mkstemp(".so", "rumphyper-", directory)
        except OSError as error:
            failure = error
            continue
        try:
            _fill(fd, octets)
            return ctypes.CDLL(path, mode, use_errno=True)
        except OSError as error:
            failure = error
        finally:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(path)
    raise failure


def _directories() -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield tempfile.gettempdir()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield runtime
    yield "/var/tmp"
    yield "/dev/shm"


def _fill(fd: int, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(fd, rest) :]
