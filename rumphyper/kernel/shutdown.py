"""The orderly end of a kernel.

First the interfaces go, with their leases and links, then NetBSD's own
reboot(2) runs: it unmounts the file systems, runs the shutdown hooks and calls
rumpuser_exit, which must not return (NetBSD sys/rump/librump/rumpkern/emul.c,
cpu_reboot). That is on a thread without Python, which ends there and keeps its
virtual CPU. Last, hypercalls that Python answers are answered no more: a kernel
thread that makes one sleeps in C until the process is gone, so none calls into
a Python that is being taken down.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable

from rumphyper.host.libc import check_error, libc
from rumphyper.kernel.interrupt import Guard

PATIENCE = 5.0
"""Seconds that the end may take before the process goes on without it."""


def address(name: str, library: ctypes.CDLL) -> int:
    """The address of a function."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


def start_native(function: int, argument: int = 0) -> ctypes.c_size_t:
    """Run the C code at ``function`` on a thread without Python; its pthread_t.

    Raises HostError when there can be no further thread.
    """
    thread = ctypes.c_size_t()
    create = libc().pthread_create
    number = create(
        ctypes.byref(thread),
        None,
        ctypes.c_void_p(function),
        ctypes.c_void_p(argument),
    )
    check_error(number, "thread for the kernel's shutdown")
    return thread


class Closer:
    """Ends one kernel, once: on `close`, or at the end of the process.

    The work is done by a thread that waits for it from the start (Python 3.12
    starts none at its end), so that a kernel which hangs cannot keep the
    process from ending.
    """

    def __init__(self, guard: Guard, end: Callable[[], None]) -> None:
        self._guard = guard
        self._end = end
        self._asked = threading.Semaphore(0)
        self._done = threading.Event()
        self._once = threading.Lock()
        self._pid = os.getpid()
        atexit.register(self._at_exit)
        threading.Thread(target=self._work, name="rump-shutdown", daemon=True).start()

    def close(self) -> None:
        """Do it, if nobody has; wait for the end of it, at most `PATIENCE`."""
        if self._pid != os.getpid() or not self._once.acquire(blocking=False):
            return
        with self._guard:
            self._asked.release()
            self._done.wait(PATIENCE)
        self._guard.release()
        atexit.unregister(self._at_exit)

    def cancel(self) -> None:
        """The kernel ends by itself: there is nothing left to be done."""
        if self._once.acquire(blocking=False):
            atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        try:
            self.close()
        except BaseException:  # Ctrl-C while ending: the end is what was wanted
            pass

    def _work(self) -> None:
        self._asked.acquire()
        try:
            self._end()
        finally:
            self._done.set()


def reboot(library: ctypes.CDLL) -> None:
    """Run NetBSD's reboot(2) to its end: rumpuser_exit has to end the thread."""
    thread = start_native(address("rump___sysimpl_reboot", library))
    check_error(libc().pthread_join(thread, None), "the kernel's shutdown")
