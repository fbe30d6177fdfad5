"""The one virtual CPU of the mini kernel, and its big lock.

Who runs kernel code holds the CPU; who wants it waits on a condition variable
of the host. With one CPU the kernel lock never has two takers, so it is a
count: what matters is that a sleeping lwp gets back what it held. Facts:
sys/rump/librump/rumpkern/scheduler.c and klock.c.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rumphyper.kernel.mini.calls import Calls
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.locks import Condvar, SpinMutex
from rumphyper.kernel.mini.lwp import Lwp


class Scheduler:
    """Gives the virtual CPU to one lwp at a time."""

    def __init__(self, calls: Calls, undo: ExitStack) -> None:
        self.mutex = SpinMutex(calls, undo, owned=False)
        self._free = Condvar(calls, undo)
        self._nobody = Condvar(calls, undo)
        self.owner: Lwp | None = None
        self.since = 0.0
        """When the owner got the CPU, by time.monotonic()."""
        self.wanted = 0
        """How many lwps wait for the CPU."""
        self.kernel_locks = 0
        """How often the owner has taken the kernel lock."""
        self.switches = 0
        self.waits = 0

    def take(self, lwp: Lwp, interlock: int = 0) -> None:
        """Wait for the CPU.

        ``interlock`` is a mutex that the caller holds: the scheduler's own is
        released on return, as sleeping on it needs.
        """
        mutex = self.mutex
        if interlock != mutex.handle:
            mutex.calls.mutex_enter_nowrap(mutex.handle)
        while self.owner is not None:
            self.waits += 1
            self.wanted += 1
            self._free.wait_nowrap(mutex)
            self.wanted -= 1
        self.become(lwp)
        self.switches += 1
        mutex.calls.mutex_exit(mutex.handle)

    def become(self, lwp: Lwp) -> None:
        """Note ``lwp`` as the owner, in place of the one that has the CPU."""
        self.since = time.monotonic()
        self.owner = lwp
        lwp.memory.scheduled += 1

    def give(self, lwp: Lwp, interlock: int = 0) -> None:
        """Give up the CPU; the scheduler's own ``interlock`` stays held."""
        lwp.handovers += 1
        mutex = self.mutex
        mutex.calls.mutex_enter_nowrap(mutex.handle)
        self.owner = None
        self.kernel_locks = 0
        if self.wanted:
            self._free.signal()
        if interlock != mutex.handle:
            mutex.calls.mutex_exit(mutex.handle)

    @contextmanager
    def kernel_lock(self) -> Iterator[None]:
        """Hold the kernel lock once more; the caller has the CPU."""
        self.kernel_locks += 1
        try:
            yield
        finally:
            self.kernel_locks -= 1

    def pause(self, seconds: float) -> None:
        """Sleep on the scheduler's own mutex; the caller has the CPU.

        Giving up the CPU takes the mutex and getting it back releases it, in
        the upcalls: the caller holds it only while it sleeps.
        """
        if self._nobody.timedwait(self.mutex, seconds):
            raise MiniKernelError("rumpuser_cv_timedwait", "woke up without a signal")
