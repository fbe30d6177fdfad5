"""inotify(7): be told that a file was written to.

Linux only. Python's standard library has no inotify, so this goes through
ctypes; the descriptor is non-blocking and close-on-exec.
"""

from __future__ import annotations

import ctypes
import os

import attrs

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import check, libc

# <sys/inotify.h>; the flags of inotify_init1 are those of open(2).
IN_MODIFY = 0x2
_ROOM = 4096  # far more than the one event that repeated writes are merged to


def _descriptor() -> int:
    try:
        start = libc().inotify_init1
    except AttributeError:
        raise UnsupportedError(
            "inotify", "this host's C library has none", "use Linux 2.6.27 or newer"
        ) from None
    start.argtypes = [ctypes.c_int]
    start.restype = ctypes.c_int
    remedy = "close other watchers or raise the sysctl fs.inotify.max_user_instances"
    return check(start(os.O_NONBLOCK | os.O_CLOEXEC), "inotify instance", remedy)


@attrs.define(eq=False)
class ModifyWatch:
    """Readable from the first write(2) or truncation of a file until `drain`.

    Stores through a mapping do not count. ``fd`` is for poll and its like.
    """

    fd: int

    @classmethod
    def of_descriptor(cls, target: int, path: str) -> ModifyWatch:
        """Watch the file that ``target`` is open on, wherever it is moved to.

        ``path`` names it in errors, and finds it where /proc is not mounted.
        Raises HostError, UnsupportedError.
        """
        fd = _descriptor()
        try:
            # The link under /proc leads to the open file itself, not to
            # whatever has its name by now.
            name = f"/proc/self/fd/{target}"
            if not os.path.exists(name):
                name = path
            add = libc().inotify_add_watch
            add.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
            add.restype = ctypes.c_int
            remedy = "raise the sysctl fs.inotify.max_user_watches"
            check(add(fd, os.fsencode(name), IN_MODIFY), f"watch on {path}", remedy)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    def drain(self) -> bool:
        """Forget the writes so far, without waiting; true if there were any."""
        try:
            return bool(os.read(self.fd, _ROOM))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
