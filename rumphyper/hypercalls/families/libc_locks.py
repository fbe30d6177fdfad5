"""Locks on libc's: an uncontended mutex never meets Python.

What a kernel does most goes straight to libc, whose functions have the same
arguments: exit, tryenter, signal, broadcast and the waits that keep the virtual
CPU. Taking a mutex tries pthread_mutex_trylock(3) first, and only when that
fails does Python give up the virtual CPU and wait. Reader/writer locks are
Python's. As in the stock library, a handle that never was one crashes.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_pth.c.
"""

from __future__ import annotations

import ctypes
import time
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import ThunkBuilder
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.libc_owner import (
    WORDS,
    OwnerNotes,
    forget,
    note,
    works,
)
from rumphyper.hypercalls.families.lwp import CLEAR, SET, Lwp
from rumphyper.hypercalls.families.pthreads import (
    OWNER,
    Timespec,
    address_of,
    pthreads,
)
from rumphyper.hypercalls.families.rwlocks import RWLock, RWLocks
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls

if TYPE_CHECKING:
    from rumphyper.hypercalls.hypervisor import Hypervisor

SPIN, KMUTEX = 1, 2

IDS = (ctypes.c_uint * (1 << 60)).from_address(0)
"""All memory, in words of 32 bits: by the address shifted by two."""

ENTER = "rumpuser_mutex_enter"
BILLION = 10**9


class LibcLwp(Lwp):
    """Lwps of threads by the thread id that libc's mutexes know their owner by."""

    def __init__(self) -> None:
        super().__init__()
        self.by_id: dict[int, int] = {}

    def curlwpop(self, operation: int, lwp: int) -> None:
        """As Python's, and keep the id."""
        super().curlwpop(operation, lwp)
        if operation == SET:
            self.by_id[get_native_id()] = lwp
        elif operation == CLEAR:
            self.by_id.pop(get_native_id(), None)

    def forget(self) -> None:
        """As Python's, and the id."""
        super().forget()
        self.by_id.pop(get_native_id(), None)


class Mutex:
    """What is to be known of a mutex besides libc's own."""

    __slots__ = ("owner", "spin", "tracked")

    def __init__(self, flags: int, address: int) -> None:
        self.spin = bool(flags & SPIN)
        self.tracked = bool(flags & KMUTEX)
        self.owner = ctypes.c_uint.from_address(address + OWNER)
        """The id of the thread that holds it, 0 when it is free."""


class Condvar:
    """How many threads wait for it without the virtual CPU."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside: list[None] = []


class LibcLocks(RWLocks, Family):
    """The family ``locks`` on libc's mutexes and condition variables."""

    family = "locks"
    provider = "libc"

    def __init__(self, upcalls: Upcalls, lwp: Lwp) -> None:
        if not isinstance(lwp, LibcLwp):
            raise UnsupportedError(
                f"locks on libc's with lwps of {type(lwp).__name__}",
                "an owner is known by its thread id there",
                "derive the family of lwps from LibcLwp",
            )
        self.upcalls = upcalls
        self._carried = lwp.carried
        self._by_id = lwp.by_id
        self._libc = pthreads()
        self._mutexes: Handles[Mutex] = Handles("mutex")
        self._condvars: Handles[Condvar] = Handles("condition variable")
        self._rwlocks: Handles[RWLock] = Handles("rwlock")
        builder = ThunkBuilder("librumphyper-locks.so")
        builder.attempt(ENTER, 1)
        self._thunk = builder.load()[ENTER]
        self._thunk.target = address_of("pthread_mutex_trylock")
        self.mutex_enter = self._thunk.address
        self.mutex_enter_nowrap = address_of("pthread_mutex_lock")
        self.mutex_tryenter = address_of("pthread_mutex_trylock")
        self._asked = self._make_asked()
        self.mutex_owner = ctypes.cast(self._asked, ctypes.c_void_p).value or 0
        self.mutex_exit = address_of("pthread_mutex_unlock")
        if works():
            notes = OwnerNotes(self.mutex_owner)
            self.mutex_owner, self.mutex_exit = notes.owner, notes.exit
        self.cv_wait_nowrap = address_of("pthread_cond_wait")
        self.cv_signal = address_of("pthread_cond_signal")
        self.cv_broadcast = address_of("pthread_cond_broadcast")

    def start(self, hypervisor: Hypervisor) -> None:
        """Let Python wait where trylock failed."""
        self._thunk.second = hypervisor.callback(ENTER, self.wait_for_mutex)

    def mutex_init(self, mtxp: Any, flags: int) -> None:
        """Make a mutex; SPIN and KMUTEX say which kind, one at least."""
        if not flags & (SPIN | KMUTEX):
            raise HypercallError(f"mutex flags {flags:#x}", "neither SPIN nor KMUTEX")
        address = self._libc.make_mutex()
        forget(address)
        self._mutexes[address] = Mutex(flags, address)
        mtxp[0] = address

    def wait_for_mutex(self, mtx: int) -> None:
        """Take a mutex that somebody holds."""
        mutex = self._mutexes[mtx]
        if mutex.owner.value == get_native_id():
            raise HypercallError(
                f"mutex {mtx:#x}", "this thread holds it", "a bug of the kernel"
            )
        if mutex.spin:
            self._libc.mutex_lock(mtx)
            return
        upcalls = self.upcalls
        locks = upcalls.give_up()
        self._libc.mutex_lock(mtx)
        upcalls.backend_schedule(locks, 0)

    def mutex_destroy(self, mtx: int) -> None:
        """Free a mutex that nobody holds."""
        if self._mutexes[mtx].owner.value:
            raise HypercallError(
                f"mutex {mtx:#x}", "destroyed while it is held", "a bug of the kernel"
            )
        self._mutexes.take(mtx)
        self._libc.mutex_destroy(mtx)
        self._libc.free(mtx)

    def _make_asked(self) -> Any:
        """C code for mutex_owner by Python: the lwp of a thread by its id."""
        words, ids, find, here = WORDS, IDS, self._by_id.get, self._carried.get

        def mutex_owner(mtx: int, lp: int) -> None:
            lwp = words[lp >> 3] = find(ids[mtx + OWNER >> 2], 0)
            if lwp and lwp == here(get_ident()):  # so nobody gives it back meanwhile
                note(mtx, lwp)

        return ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t)(mutex_owner)

    def cv_init(self, cvp: Any) -> None:
        """Make a condition variable."""
        address = self._libc.make_cond()
        self._condvars[address] = Condvar()
        cvp[0] = address

    def cv_destroy(self, cv: int) -> None:
        """Free a condition variable that nobody waits for."""
        if self._condvars[cv].inside:
            raise HypercallError(
                f"condition variable {cv:#x}",
                "destroyed while somebody waits for it",
                "a bug of the kernel",
            )
        self._condvars.take(cv)
        self._libc.cond_destroy(cv)
        self._libc.free(cv)

    def cv_wait(self, cv: int, mtx: int) -> None:
        """Wait for a signal without mutex and virtual CPU."""
        self._wait(cv, mtx, None)

    def cv_timedwait(self, cv: int, mtx: int, sec: int, nsec: int) -> int:
        """The same for a limited time; ETIMEDOUT when it is over."""
        now = time.monotonic_ns()
        until = min(max(0, now + sec * BILLION + nsec), (1 << 62))
        error = self._wait(cv, mtx, Timespec(*divmod(until, BILLION)))
        return Errno.ETIMEDOUT if error else 0

    def _wait(self, cv: int, mtx: int, until: Timespec | None) -> int:
        """Wait; non-zero when the time was over first."""
        mutex, inside, libc = self._mutexes[mtx], self._condvars[cv].inside, self._libc
        inside.append(None)
        upcalls = self.upcalls
        locks = upcalls.give_up(mtx)
        forget(mtx)
        if until is None:
            error = libc.cond_wait(cv, mtx)
        else:
            error = libc.cond_timedwait(cv, mtx, until)
        if mutex.spin and mutex.tracked:
            # CPU first, then the spin mutex: the order of everybody who takes
            # it inside the kernel. The other way round deadlocks.
            libc.mutex_unlock(mtx)  # nobody has asked since
            upcalls.backend_schedule(locks, mtx)
            libc.mutex_lock(mtx)
        else:
            upcalls.backend_schedule(locks, mtx)
        inside.pop()
        return error

    def cv_has_waiters(self, cv: int, waitersp: Any) -> None:
        """How many wait without the virtual CPU."""
        waitersp[0] = len(self._condvars[cv].inside)
