"""Host threads for the kernel's threads.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import time
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import to_netbsd
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls

ATTEMPTS = 10
PAUSE = 0.01
"""Seconds between attempts when the host has no thread to give."""

NAME_LIMIT = 15
"""Octets of a thread's name on Linux (pthread_setname_np(3))."""

_FIRST_COOKIE = 0x7407_0000_0000
_COOKIE_STEP = 16


class Threads(Family):
    """libc's threads, which run the kernel's function without Python between.

    So `thread_exit` is libc's pthread_exit itself: as a Python function it
    would have to unwind the interpreter.
    """

    family = "threads"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        library = libc()
        pointer, number, thread = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
        self._create = ctypes.CFUNCTYPE(
            number, ctypes.POINTER(thread), pointer, pointer, pointer
        )(("pthread_create", library))
        self._setname = ctypes.CFUNCTYPE(number, thread, ctypes.c_char_p)(
            ("pthread_setname_np", library)
        )
        self._detach = ctypes.CFUNCTYPE(number, thread)(("pthread_detach", library))
        self._join = ctypes.CFUNCTYPE(number, thread, pointer)(
            ("pthread_join", library)
        )
        self._cookies = itertools.count(_FIRST_COOKIE, _COOKIE_STEP)
        self._joinable: dict[int, int] = {}
        self.thread_exit = ctypes.cast(library.pthread_exit, ctypes.c_void_p).value or 0

    def thread_create(
        self,
        function: int,
        argument: int,
        name: bytes | None,
        mustjoin: int,
        priority: int,
        cpuidx: int,
        cookie: Any,
    ) -> int:
        """Start a thread that runs ``function(argument)``."""
        if not function:
            raise HypercallError("thread function", "it is a null pointer")
        if mustjoin and not cookie:
            raise HypercallError("thread cookie", "it is a null pointer")
        thread = ctypes.c_ulong(0)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            number = self._create(ctypes.byref(thread), None, function, argument)
            if number != errno.EAGAIN:
                break
        if number:
            return to_netbsd(number)
        # Until it is detached or joined the id is valid even if the thread is
        # over already; so it is made joinable, named, and then detached.
        if name:
            self._setname(thread, name[:NAME_LIMIT])
        if mustjoin:
            key = next(self._cookies)
            self._joinable[key] = thread.value
            cookie[0] = key
        else:
            self._detach(thread)
        return 0

    def thread_join(self, cookie: int) -> int:
        """Wait for a thread without the virtual CPU."""
        thread = self._joinable.pop(cookie, None)
        if thread is None:
            raise HypercallError(
                f"thread cookie {cookie:#x}",
                "not from rumpuser_thread_create, or joined already",
                "a bug of the kernel",
            )
        with self.upcalls.away():
            number = self._join(thread, None)
        return to_netbsd(number)
