"""The family of locks: mutexes, reader/writer locks, condition variables.

One family, for they work on each other and on the same lwps.
"""

from __future__ import annotations

from rumphyper.hypercalls.families.condvars import Condvar, Condvars
from rumphyper.hypercalls.families.lwp import Lwp
from rumphyper.hypercalls.families.rwlocks import RWLock, RWLocks
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.handles import Handles
from rumphyper.hypercalls.upcalls import Upcalls


class Locks(Condvars, RWLocks, Family):
    """All locks in Python.

    ``lwp`` is the family that the same kernel uses: an owner is an lwp.
    """

    family = "locks"

    def __init__(self, upcalls: Upcalls, lwp: Lwp) -> None:
        super().__init__(upcalls, lwp.carried)
        self._condvars: Handles[Condvar] = Handles("condition variable")
        self._rwlocks: Handles[RWLock] = Handles("rwlock")
