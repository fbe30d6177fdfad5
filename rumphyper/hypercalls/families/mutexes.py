"""Mutexes: a token that threads of the interpreter hand on.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock, get_ident
from collections import deque
from typing import Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.lwp import Carried
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.hypercalls.words import Word, Words

SPIN, KMUTEX = 1, 2


class Mutex:
    """One mutex of the kernel: a token, which is in ``free`` or with its holder.

    To take and to give back the token are single steps of the interpreter and
    cost a fifth of a lock object's. Who finds no token sleeps on a lock until
    the holder wakes it to try again: mostly the quickest, for the holder goes
    on meanwhile. But the holder has the interpreter and may be back first, time
    after time; so who was woken in vain is an heir, to whom the token is handed.
    """

    __slots__ = ("free", "heirs", "owner", "spin", "tracked", "waiters")

    def __init__(self, flags: int, owner: Word) -> None:
        self.free: list[None] = [None]
        self.waiters: deque[LockType] = deque()
        self.heirs: deque[LockType] = deque()
        self.spin = bool(flags & SPIN)
        self.tracked = bool(flags & KMUTEX)
        self.owner = owner
        """Holds the lwp that has the mutex, 0 when it is free."""

    def take(self) -> None:
        """Wait for the token."""
        for queue in (self.waiters, self.heirs):
            if self._taken_or_slept(queue):
                return

    def _taken_or_slept(self, queue: deque[LockType]) -> bool:
        """Whether the token is ours, after a sleep in ``queue`` if need be."""
        free = self.free
        try:
            free.pop()
            return True
        except IndexError:
            pass
        sleeper = allocate_lock()
        sleeper.acquire()
        queue.append(sleeper)
        try:  # once more, for the holder may have looked for sleepers before
            free.pop()
        except IndexError:
            sleeper.acquire()
            return False  # an heir has it for all that
        try:
            queue.remove(sleeper)
        except ValueError:  # woken already, for what it has
            pass
        return True

    def give(self) -> None:
        """Hand the token to an heir, or give it back and wake somebody."""
        if self.heirs:
            self.heirs.popleft().release()
            return
        self.free.append(None)
        if self.waiters or self.heirs:
            self.wake()

    def wake(self) -> None:
        """Somebody sleeps and the token may lie in ``free``: see to it."""
        try:
            if not self.heirs:
                self.waiters.popleft().release()
                return
            self.free.pop()
        except IndexError:
            return
        self.give()


class Mutexes:
    """The mutex hypercalls.

    A thread that has to wait for a mutex gives up its virtual CPU meanwhile,
    unless the mutex is a spin mutex. Every method runs for each lock operation
    of the kernel, thousands of times per megabyte of TCP: hence no helpers.
    """

    def __init__(self, upcalls: Upcalls, carried: Carried) -> None:
        self.upcalls = upcalls
        self._carried = carried
        self._mutexes: Handles[Mutex] = Handles("mutex")
        self._words = Words()

    def mutex_init(self, mtxp: Any, flags: int) -> None:
        """Make a mutex; SPIN and KMUTEX say which kind, one at least."""
        if not flags & (SPIN | KMUTEX):
            raise HypercallError(f"mutex flags {flags:#x}", "neither SPIN nor KMUTEX")
        address, owner = self._words.take()
        self._mutexes[address] = Mutex(flags, owner)
        mtxp[0] = address

    def mutex_enter(self, mtx: int) -> None:
        """Take the mutex; wait for it where necessary."""
        mutex = self._mutexes[mtx]
        try:
            mutex.free.pop()
        except IndexError:
            self._contended(mutex, mtx)
        if mutex.tracked:
            mutex.owner.value = self._carried.get(get_ident(), 0)

    def mutex_enter_nowrap(self, mtx: int) -> None:
        """Take the mutex; wait with the virtual CPU in hand."""
        mutex = self._mutexes[mtx]
        try:
            mutex.free.pop()
        except IndexError:
            self._refuse_own(mutex, mtx)
            mutex.take()
        if mutex.tracked:
            mutex.owner.value = self._carried.get(get_ident(), 0)

    def _contended(self, mutex: Mutex, mtx: int) -> None:
        self._refuse_own(mutex, mtx)
        if mutex.spin:
            mutex.take()
            return
        upcalls = self.upcalls
        locks = upcalls.give_up()
        mutex.take()
        upcalls.backend_schedule(locks, 0)

    def _refuse_own(self, mutex: Mutex, mtx: int) -> None:
        owner = mutex.owner.value
        if owner and owner == self._carried.get(get_ident(), 0):
            raise HypercallError(
                f"mutex {mtx:#x}",
                f"lwp {owner:#x} holds it already",
                "a bug of the kernel",
            )

    def mutex_tryenter(self, mtx: int) -> int:
        """Take the mutex if it is free, else EBUSY."""
        mutex = self._mutexes[mtx]
        if not mutex.free:
            return Errno.EBUSY
        try:
            mutex.free.pop()
        except IndexError:
            return Errno.EBUSY
        if mutex.tracked:
            mutex.owner.value = self._carried.get(get_ident(), 0)
        return 0

    def mutex_exit(self, mtx: int) -> None:
        """Release the mutex."""
        mutex = self._mutexes[mtx]
        if mutex.free:
            raise _not_held(mtx)
        if mutex.tracked:
            if mutex.owner.value != self._carried.get(get_ident(), 0):
                raise _not_held(mtx)
            mutex.owner.value = 0
        if mutex.heirs:
            mutex.give()
            return
        mutex.free.append(None)
        if mutex.waiters or mutex.heirs:
            mutex.wake()

    def mutex_destroy(self, mtx: int) -> None:
        """Free a mutex that nobody holds."""
        if not self._mutexes[mtx].free:
            raise HypercallError(
                f"mutex {mtx:#x}", "destroyed while it is held", "a bug of the kernel"
            )
        self._mutexes.take(mtx)
        self._words.give(mtx)

    def mutex_owner(self, mtx: int, lp: Any) -> None:
        """The lwp that holds a KMUTEX, NULL when it is free."""
        mutex = self._mutexes[mtx]
        lp[0] = mutex.owner.value
        if not mutex.tracked:
            raise HypercallError(
                f"mutex {mtx:#x}", "made without KMUTEX, has no owner to tell"
            )


def _not_held(mtx: int) -> HypercallError:
    return HypercallError(
        f"mutex {mtx:#x}", "released by who does not hold it", "a bug of the kernel"
    )
