"""Reader/writer locks with upgrade and downgrade.

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

READER, WRITER = 0, 1


class RWLock:
    """One lock: how many readers, or which writer, and who waits.

    Readers get in whenever no writer is in, even past waiting writers, as with
    glibc's default: the kernel takes read locks recursively. Who leaves hands
    the lock over to those who wait, so nobody has to try again.
    """

    __slots__ = ("guard", "queue", "readers", "writer", "writing")

    def __init__(self) -> None:
        self.guard = allocate_lock()
        self.readers = 0
        self.writing = False
        self.writer = 0
        self.queue: deque[tuple[int, LockType, int]] = deque()
        """Kind, lock whose release wakes the thread, its lwp."""

    def take(self, kind: int, lwp: int) -> bool:
        """Take it if that is possible now; the guard is held."""
        if self.writing:
            return False
        if kind == READER:
            self.readers += 1
            return True
        if self.readers:
            return False
        self.writing = True
        self.writer = lwp
        return True

    def hand_over(self) -> None:
        """Let in who waits, if somebody can come in; the guard is held."""
        queue = self.queue
        if not queue or self.writing:
            return
        if not self.readers and queue[0][0] == WRITER:
            _, waiter, self.writer = queue.popleft()
            self.writing = True
            waiter.release()
            return
        readers = [entry for entry in queue if entry[0] == READER]
        self.queue = deque(entry for entry in queue if entry[0] == WRITER)
        self.readers += len(readers)
        for _, waiter, _ in readers:
            waiter.release()


class RWLocks:
    """The reader/writer lock hypercalls."""

    upcalls: Upcalls
    _carried: Carried
    _rwlocks: Handles[RWLock]

    def rw_init(self, rwp: Any) -> None:
        """Make a lock."""
        rwp[0] = self._rwlocks.add(RWLock())

    def rw_enter(self, kind: int, rw: int) -> None:
        """Take the lock; wait for it without the virtual CPU."""
        lock = self._rwlocks[rw]
        with lock.guard:
            if kind == READER and not lock.writing:  # what nearly every call is
                lock.readers += 1
                return
            _check(kind)
            lwp = self._carried.get(get_ident(), 0)
            if lock.take(kind, lwp):
                return
            if lock.writing and lwp and lock.writer == lwp:
                raise HypercallError(
                    f"rwlock {rw:#x}",
                    f"lwp {lwp:#x} is its writer already",
                    "a bug of the kernel",
                )
            waiter = allocate_lock()
            waiter.acquire()
            lock.queue.append((kind, waiter, lwp))
        upcalls = self.upcalls
        locks = upcalls.give_up()
        waiter.acquire()
        upcalls.backend_schedule(locks, 0)

    def rw_tryenter(self, kind: int, rw: int) -> int:
        """Take the lock if that is possible now, else EBUSY."""
        lock = self._rwlocks[rw]
        if kind not in (READER, WRITER):
            return Errno.EINVAL
        with lock.guard:
            taken = lock.take(kind, self._carried.get(get_ident(), 0))
        return 0 if taken else Errno.EBUSY

    def rw_tryupgrade(self, rw: int) -> int:
        """Make the only reader the writer, else EBUSY.

        The stock library always says EBUSY, for pthreads cannot do it.
        """
        lock = self._rwlocks[rw]
        with lock.guard:
            if lock.writing or lock.readers != 1:
                return Errno.EBUSY
            lock.readers = 0
            lock.writing = True
            lock.writer = self._carried.get(get_ident(), 0)
        return 0

    def rw_downgrade(self, rw: int) -> None:
        """Make the writer a reader, and let in the readers who wait."""
        lock = self._rwlocks[rw]
        with lock.guard:
            self._check_writer(lock, rw)
            lock.writing = False
            lock.writer = 0
            lock.readers = 1
            lock.hand_over()

    def rw_exit(self, rw: int) -> None:
        """Release the lock."""
        lock = self._rwlocks[rw]
        with lock.guard:
            if lock.readers:
                lock.readers -= 1
                if lock.readers:
                    return
            else:
                self._check_writer(lock, rw)
                lock.writing = False
                lock.writer = 0
            if lock.queue:
                lock.hand_over()

    def rw_destroy(self, rw: int) -> None:
        """Free a lock that nobody holds."""
        lock = self._rwlocks[rw]
        if lock.readers or lock.writing or lock.queue:
            raise HypercallError(
                f"rwlock {rw:#x}", "destroyed while it is held", "a bug of the kernel"
            )
        self._rwlocks.take(rw)

    def rw_held(self, kind: int, rw: int, heldp: Any) -> None:
        """How many readers there are, or whether the calling lwp is the writer."""
        lock = self._rwlocks[rw]
        if kind == READER:
            heldp[0] = lock.readers
        else:
            _check(kind)
            heldp[0] = lock.writing and lock.writer == self._carried.get(get_ident(), 0)

    def _check_writer(self, lock: RWLock, rw: int) -> None:
        if not lock.writing or lock.writer != self._carried.get(get_ident(), 0):
            raise HypercallError(
                f"rwlock {rw:#x}",
                "released by who does not hold it",
                "a bug of the kernel",
            )


def _check(kind: int) -> None:
    if kind not in (READER, WRITER):
        raise HypercallError(f"kind of rwlock {kind}", "neither READER nor WRITER")
