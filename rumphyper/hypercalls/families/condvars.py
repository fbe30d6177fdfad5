"""Condition variables: a queue of locks, one for each waiting thread.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

import time
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from threading import TIMEOUT_MAX
from typing import Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.mutexes import Mutex, Mutexes
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.report import HypercallError


class Condvar:
    """One condition variable of the kernel."""

    __slots__ = ("inside", "waiters")

    def __init__(self) -> None:
        self.waiters: deque[LockType] = deque()
        """Who sleeps, the longest first: releasing the lock wakes its thread."""

        self.inside: list[None] = []
        """One item for each thread between entering and leaving a wait."""


class Condvars(Mutexes):
    """The condition variable hypercalls."""

    _condvars: Handles[Condvar]

    def cv_init(self, cvp: Any) -> None:
        """Make a condition variable."""
        cvp[0] = self._condvars.add(Condvar())

    def cv_destroy(self, cv: int) -> None:
        """Free a condition variable that nobody waits for."""
        if self._condvars[cv].inside:
            raise HypercallError(
                f"condition variable {cv:#x}",
                "destroyed while somebody waits for it",
                "a bug of the kernel",
            )
        self._condvars.take(cv)

    def cv_wait(self, cv: int, mtx: int) -> None:
        """Wait for a signal without mutex and virtual CPU."""
        self._wait(self._condvars[cv], self._mutexes[mtx], mtx, -1)

    def cv_timedwait(self, cv: int, mtx: int, sec: int, nsec: int) -> int:
        """The same for a limited time; ETIMEDOUT when it is over."""
        until = time.monotonic() + sec + nsec / 1e9
        condvar, mutex = self._condvars[cv], self._mutexes[mtx]
        woken = self._wait(condvar, mutex, mtx, max(0.0, until))
        return 0 if woken else Errno.ETIMEDOUT

    def _wait(self, condvar: Condvar, mutex: Mutex, mtx: int, until: float) -> bool:
        """Wait until woken (True) or ``until`` on the monotonic clock; -1: for ever.

        Giving up the virtual CPU comes first and may take the mutex: it does
        where the interlock is the kernel's own scheduler lock.
        """
        upcalls = self.upcalls
        inside = condvar.inside
        inside.append(None)
        locks = upcalls.give_up(mtx)
        mutex.owner.value = 0
        try:
            woken = _sleep(condvar.waiters, mutex, mtx, until)
        finally:
            if mutex.spin and mutex.tracked:
                # CPU first, then the spin mutex: the order of everybody who
                # takes it inside the kernel. The other way round deadlocks.
                upcalls.backend_schedule(locks, mtx)
                mutex.take()
                mutex.owner.value = self._carried.get(get_ident(), 0)
            else:
                mutex.take()
                if mutex.tracked:
                    mutex.owner.value = self._carried.get(get_ident(), 0)
                upcalls.backend_schedule(locks, mtx)
            inside.pop()
        return woken

    def cv_wait_nowrap(self, cv: int, mtx: int) -> None:
        """Wait for a signal without the mutex, with the virtual CPU in hand."""
        condvar, mutex = self._condvars[cv], self._mutexes[mtx]
        condvar.inside.append(None)
        mutex.owner.value = 0
        try:
            _sleep(condvar.waiters, mutex, mtx, -1)
        finally:
            mutex.take()
            if mutex.tracked:
                mutex.owner.value = self._carried.get(get_ident(), 0)
            condvar.inside.pop()

    def cv_signal(self, cv: int) -> None:
        """Wake who waits longest, if anybody does."""
        waiters = self._condvars[cv].waiters
        if waiters:  # mostly there is nobody: an exception would cost more
            try:
                waiters.popleft().release()
            except IndexError:
                pass

    def cv_broadcast(self, cv: int) -> None:
        """Wake all."""
        waiters = self._condvars[cv].waiters
        while waiters:
            try:
                waiters.popleft().release()
            except IndexError:
                pass

    def cv_has_waiters(self, cv: int, waitersp: Any) -> None:
        """How many wait, those included who are just being woken."""
        waitersp[0] = len(self._condvars[cv].inside)


def _sleep(waiters: deque[LockType], mutex: Mutex, mtx: int, until: float) -> bool:
    """Release the mutex and sleep; True when woken by a signal."""
    waiter = allocate_lock()
    waiter.acquire()
    waiters.append(waiter)
    if mutex.free:
        waiters.remove(waiter)
        raise HypercallError(
            f"mutex {mtx:#x}",
            "a wait with a mutex that nobody holds",
            "a bug of the kernel",
        )
    mutex.give()
    if until < 0:
        waiter.acquire()
        return True
    left = until - time.monotonic()
    if waiter.acquire(True, min(max(left, 0.0), TIMEOUT_MAX)):
        return True
    try:
        waiters.remove(waiter)
    except ValueError:
        # A signal took it from the queue at this very moment: it counts, and
        # its release of the lock is about to come.
        waiter.acquire()
        return True
    return False
