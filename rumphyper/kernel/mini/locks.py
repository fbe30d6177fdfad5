"""Mutexes, reader/writer locks and condition variables of the mini kernel.

Thin faces of the hypercalls; ``undo`` gets what destroys each. As in NetBSD a
spin mutex keeps the virtual CPU while it waits, and an adaptive one gives it
up (sys/rump/librump/rumpkern/locks.c).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rumphyper.kernel.mini.abi import (
    ETIMEDOUT,
    MTX_KMUTEX,
    MTX_SPIN,
    RW_READER,
    RW_WRITER,
)
from rumphyper.kernel.mini.calls import Calls, check
from rumphyper.kernel.mini.errors import MiniKernelError


def _made(call: str, handle: ctypes.c_void_p) -> int:
    if not handle.value:
        raise MiniKernelError(f"rumpuser_{call}", "gave a null pointer")
    return handle.value


class Mutex:
    """A mutex that its owner lwp holds; waiting for it gives up the CPU."""

    FLAGS = MTX_KMUTEX

    def __init__(self, calls: Calls, undo: ExitStack) -> None:
        self.calls = calls
        self.contended = 0
        handle = ctypes.c_void_p()
        calls.mutex_init(ctypes.byref(handle), self.FLAGS)
        self.handle = _made("mutex_init", handle)
        undo.callback(calls.mutex_destroy, self.handle)

    def __enter__(self) -> None:
        if self.calls.mutex_tryenter(self.handle):
            self.contended += 1
            self.calls.mutex_enter(self.handle)

    def __exit__(self, *error: object) -> None:
        self.calls.mutex_exit(self.handle)

    def owner(self) -> int:
        """The address of the lwp that holds it; 0 when nobody does."""
        owner = ctypes.c_void_p()
        self.calls.mutex_owner(self.handle, ctypes.byref(owner))
        return owner.value or 0


class SpinMutex(Mutex):
    """A mutex for short: waiting for it keeps the CPU.

    ``owned`` false makes one without an owner, which code may take that has
    no lwp yet: the scheduler's own.
    """

    def __init__(self, calls: Calls, undo: ExitStack, owned: bool = True) -> None:
        self.FLAGS = MTX_SPIN | (MTX_KMUTEX if owned else 0)
        super().__init__(calls, undo)

    def __enter__(self) -> None:
        self.calls.mutex_enter(self.handle)

    @contextmanager
    def nowrap(self) -> Iterator[None]:
        """Hold it in code that may run without the virtual CPU."""
        self.calls.mutex_enter_nowrap(self.handle)
        try:
            yield
        finally:
            self.calls.mutex_exit(self.handle)


class RWLock:
    """Many readers or one writer."""

    def __init__(self, calls: Calls, undo: ExitStack) -> None:
        self.calls = calls
        handle = ctypes.c_void_p()
        calls.rw_init(ctypes.byref(handle))
        self.handle = _made("rw_init", handle)
        undo.callback(calls.rw_destroy, self.handle)

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Hold it together with other readers."""
        if self.calls.rw_tryenter(RW_READER, self.handle):
            self.calls.rw_enter(RW_READER, self.handle)
        try:
            yield
        finally:
            self.calls.rw_exit(self.handle)

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold it alone."""
        self.calls.rw_enter(RW_WRITER, self.handle)
        try:
            yield
        finally:
            self.calls.rw_exit(self.handle)

    def upgrade(self) -> None:
        """Turn the caller from a reader into the writer.

        Others may write in between: look again at what was read.
        """
        if self.calls.rw_tryupgrade(self.handle):
            self.calls.rw_exit(self.handle)
            self.calls.rw_enter(RW_WRITER, self.handle)

    def downgrade(self) -> None:
        """Turn the caller from the writer into a reader."""
        self.calls.rw_downgrade(self.handle)

    def held(self, kind: int) -> bool:
        """Whether the caller writes (RW_WRITER) or anybody reads (RW_READER)."""
        held = ctypes.c_int(-1)
        self.calls.rw_held(kind, self.handle, ctypes.byref(held))
        return bool(held.value)


class Condvar:
    """Waiting for something that another thread does under the same mutex."""

    def __init__(self, calls: Calls, undo: ExitStack) -> None:
        self.calls = calls
        handle = ctypes.c_void_p()
        calls.cv_init(ctypes.byref(handle))
        self.handle = _made("cv_init", handle)
        undo.callback(self._destroy)

    def wait(self, mutex: Mutex) -> None:
        """Wait; the caller's lwp owns ``mutex`` before and after."""
        owner = mutex.owner()
        self.calls.cv_wait(self.handle, mutex.handle)
        if mutex.owner() != owner:
            raise MiniKernelError("rumpuser_cv_wait", "came back without the mutex")

    def wait_nowrap(self, mutex: Mutex) -> None:
        """Wait in code that has no virtual CPU, or must not give it up."""
        self.calls.cv_wait_nowrap(self.handle, mutex.handle)

    def timedwait(self, mutex: Mutex, seconds: float) -> bool:
        """Wait for a limited time; false when it ran out."""
        whole, rest = divmod(int(seconds * 1e9), 10**9)
        errno = self.calls.cv_timedwait(self.handle, mutex.handle, whole, rest)
        if errno != ETIMEDOUT:
            check("cv_timedwait", errno, f"{seconds} s")
        return bool(errno == 0)

    def signal(self) -> None:
        self.calls.cv_signal(self.handle)

    def broadcast(self) -> None:
        self.calls.cv_broadcast(self.handle)

    def waiters(self) -> int:
        """How many wait."""
        number = ctypes.c_int(-1)
        self.calls.cv_has_waiters(self.handle, ctypes.byref(number))
        return number.value

    def _destroy(self) -> None:
        waiting = self.waiters()
        self.calls.cv_destroy(self.handle)
        if waiting:
            raise MiniKernelError(
                "rumpuser_cv_has_waiters", f"{waiting} threads wait at the end"
            )
