"""For NetBSD's shmif(4) driver: map the bus file and watch it.

Facts: NetBSD sys/rump/net/lib/libshmif/shmif_user.c.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from errno import EINTR
from typing import Any

from rumphyper.host.libc import MAP_FAILED, libc
from rumphyper.hypercalls.errno import Errno, from_oserror, to_netbsd
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.threadstate import hold_thread_state
from rumphyper.hypercalls.upcalls import Upcalls

IN_MODIFY = 2
EVENT_ROOM = 65536
"""Octets read from a watch at once: all pending events, for one wake-up does."""


class Shmif(Family):
    """The bus file as shared memory, watched by inotify(7)."""

    family = "shmif"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        library = libc()
        number, word, offset = ctypes.c_int, ctypes.c_size_t, ctypes.c_int64
        self._mmap = ctypes.CFUNCTYPE(
            word, word, word, number, number, number, offset, use_errno=True
        )(("mmap", library))
        self._inotify_init = ctypes.CFUNCTYPE(number, number, use_errno=True)(
            ("inotify_init1", library)
        )
        self._add_watch = ctypes.CFUNCTYPE(
            number, number, ctypes.c_char_p, ctypes.c_uint32, use_errno=True
        )(("inotify_add_watch", library))

        self._read = ctypes.CFUNCTYPE(
            ctypes.c_ssize_t, number, ctypes.c_void_p, word, use_errno=True
        )(("read", library))
        # What happened does not matter, so all threads may read into one buffer.
        self._events = ctypes.create_string_buffer(EVENT_ROOM)

    def mmap(self, fd: int, length: int, memp: Any) -> int:
        """Make the file ``length`` octets long and map it shared."""
        try:
            os.ftruncate(fd, length)
        except OSError as error:
            return from_oserror(error)
        except OverflowError:  # no off_t is that large
            return Errno.EINVAL
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address = self._mmap(0, length, protection, mmap.MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            return to_netbsd(ctypes.get_errno())
        memp[0] = address
        return 0

    def watchsetup(self, handlep: Any, fd: int) -> int:
        """Watch the file behind ``fd`` for writes, with a new watch or a given one.

        The path goes by /proc: inotify_add_watch(2) follows the link to the
        very file, also when it has been renamed or removed.
        """
        watch = handlep[0]
        if watch == -1:
            watch = self._inotify_init(os.O_CLOEXEC)
            if watch == -1:
                return to_netbsd(ctypes.get_errno())
        path = b"/proc/self/fd/%d" % fd
        if self._add_watch(watch, path, IN_MODIFY) == -1:
            number = ctypes.get_errno()
            if watch != handlep[0]:
                os.close(watch)
            # For a descriptor that is not open, /proc has no such file.
            return to_netbsd(number) if _is_open(fd) else Errno.EBADF
        handlep[0] = watch
        return 0

    def watchwait(self, handle: int) -> int:
        """Wait for writes without the virtual CPU."""
        hold_thread_state()  # one thread of the kernel does nothing else
        upcalls = self.upcalls
        locks = upcalls.give_up()
        error = EINTR
        while error == EINTR:
            count = self._read(handle, self._events, EVENT_ROOM)
            error = 0 if count > 0 else ctypes.get_errno()
        upcalls.backend_schedule(locks, 0)
        return to_netbsd(error)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
