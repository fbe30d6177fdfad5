"""Each calling thread's own lwp.

A thread that enters a rump kernel without one gets a temporary lwp for every
call, made and freed through lwp0, which all threads share (NetBSD
sys/rump/librump/rumpkern/scheduler.c, rump_schedule). A permanent one more
than halves the hypercalls of a UDP round trip. All are in process 1, the one
that temporary lwps belong to, so descriptors are shared between threads.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

PROCESS = 1


class Lease:
    """One thread's lwp; released when the thread's locals are dropped.

    That is on the thread itself, at its end. Anywhere else it would be the
    wrong lwp, and in another process (fork) there is no kernel.
    """

    def __init__(self, kernel: Kernel, give_back: Callable[[], None]) -> None:
        self._kernel = kernel
        self._give_back = give_back
        self._owner = threading.get_ident()

    def end(self) -> None:
        """Release the lwp of the calling thread, which must be the owner."""
        if self._owner != threading.get_ident():
            return
        self._owner = 0
        if self._kernel.closed:
            self._kernel.provided.forget_lwp()
        else:
            self._give_back()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.end()


class Here(threading.local):
    """What the kernel knows of the calling thread.

    The first access in a thread gives it its lwp. Raises KernelError when the
    kernel refuses.
    """

    main: bool
    """Whether signal handlers run on this thread: see rumphyper.kernel.interrupt."""

    lease: Lease | None
    """None on a thread of the kernel's own, which has an lwp already."""

    def __init__(self, kernel: Kernel) -> None:
        self.main = kernel.guard.on_main()
        with kernel.guard:
            self.lease = self._get_lwp(kernel)

    @staticmethod
    def _get_lwp(kernel: Kernel) -> Lease | None:
        library = kernel.library
        prototype = ctypes.CFUNCTYPE(ctypes.c_void_p)
        if prototype(("rumpuser_curlwp", library))():
            return None
        error = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(
            ("rump_pub_lwproc_newlwp", library)
        )(PROCESS)
        if error:
            raise kernel.error(error, "lwp for the calling thread")
        release = ctypes.CFUNCTYPE(None)(("rump_pub_lwproc_releaselwp", library))
        return Lease(kernel, release)
