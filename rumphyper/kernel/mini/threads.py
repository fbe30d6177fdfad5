"""Threads of the kernel: host threads that carry an lwp of process 0.

A thread of librump ends by rumpuser_thread_exit. Here its function returns
instead, which is the same to pthreads: pthread_exit(3) would unwind Python's
own frames. Facts: sys/rump/librump/rumpkern/threads.c.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ExitStack

import attrs

from rumphyper.kernel.mini.calls import Calls, check
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.locks import Condvar, SpinMutex
from rumphyper.kernel.mini.lwp import Lwp, Lwps
from rumphyper.kernel.mini.memory import Memory
from rumphyper.kernel.mini.upcalls import Upcalls

PRIORITY = 96
"""PRI_KERNEL of sys/sys/param.h."""


class Descriptor(ctypes.Structure):
    """What a new thread gets as its argument."""

    _fields_ = [("number", ctypes.c_uint64), ("lwp", ctypes.c_uint64)]


@attrs.frozen
class Thread:
    """A thread that was started; ``cookie`` is the host's, for joining it."""

    name: str
    cookie: int


class Threads:
    """Starts threads and waits for their end."""

    def __init__(
        self,
        calls: Calls,
        memory: Memory,
        lwps: Lwps,
        upcalls: Upcalls,
        report: Callable[[str], None],
        entry: int,
        undo: ExitStack,
    ) -> None:
        self._calls = calls
        self._memory = memory
        self._lwps = lwps
        self._upcalls = upcalls
        self._report = report
        self._entry = entry
        self._mutex = SpinMutex(calls, undo, owned=False)
        self._go = Condvar(calls, undo)
        self._allowed = False
        self._waiting: dict[int, tuple[Callable[[], None], Lwp]] = {}
        self._next = 1

    def create(self, name: str, function: Callable[[], None]) -> Thread:
        """Start a thread that runs ``function`` with the virtual CPU.

        Raises MiniKernelError when the host has no thread or no memory.
        """
        size = ctypes.sizeof(Descriptor)
        argument = self._memory.allocate(size, f"thread {name}")
        try:
            lwp = self._lwps.create(0, name)
        except MiniKernelError:
            self._memory.free(argument)
            raise
        descriptor = Descriptor.from_address(argument)
        descriptor.number, descriptor.lwp = self._next, lwp.address
        self._waiting[self._next] = function, lwp
        self._next += 1
        cookie = ctypes.c_void_p()
        errno = self._calls.thread_create(
            self._entry, argument, name.encode(), 1, PRIORITY, -1, ctypes.byref(cookie)
        )
        if errno:
            del self._waiting[descriptor.number]
            self._lwps.destroy(lwp)
            self._memory.free(argument)
            check("thread_create", errno, name)
        return Thread(name, cookie.value or 0)

    def allow(self) -> None:
        """Let threads run from now on; until then they wait."""
        with self._mutex.nowrap():
            self._allowed = True
            self._go.broadcast()

    def join(self, thread: Thread) -> None:
        """Wait for the end of ``thread``, without the virtual CPU."""
        self.allow()
        check("thread_join", self._calls.thread_join(thread.cookie), thread.name)

    def start(self, argument: int) -> None:
        """What a new host thread runs, through the gate."""
        descriptor = Descriptor.from_address(argument)
        function, lwp = self._waiting.pop(descriptor.number)
        with self._mutex.nowrap():
            while not self._allowed:
                self._go.wait_nowrap(self._mutex)
        self._lwps.set(lwp)
        with self._upcalls.entered():
            if descriptor.lwp != lwp.address:
                self._report(f"thread {lwp}: its argument was changed on the way")
            self._memory.free(argument)
            try:
                function()
            except Exception as error:
                self._report(f"{lwp}: {type(error).__name__}: {error}")
            self._upcalls.lwproc_release()
