"""The upcalls: how the host enters the kernel and leaves it.

rumpuser_init hands this table to the host. Facts: struct rumpuser_hyperup,
lib/librumpuser/rumpuser_component.c, sys/rump/librump/rumpkern/scheduler.c and
lwproc.c of NetBSD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.lwp import Lwp, Lwps
from rumphyper.kernel.mini.scheduler import Scheduler

PROCESSES = {0: "system", 1: "init"}
"""The processes that lwps can be made in."""


class Upcalls:
    """What each upcall does; `rumphyper.kernel.mini.gate` makes them C's."""

    def __init__(
        self, lwps: Lwps, scheduler: Scheduler, report: Callable[[str], None]
    ) -> None:
        self._lwps = lwps
        self._scheduler = scheduler
        self._report = report

    def schedule(self) -> None:
        """Enter the kernel: get the CPU, and an lwp for the visit if need be."""
        lwp = self._lwps.current()
        if lwp is None:
            lwp = self._lwps.create_waiting(1, "visitor")
            lwp.memory.exiting = 1  # ends with the visit
            self._lwps.set(lwp)
        elif self._scheduler.owner is lwp:
            self._report(f"schedule: {lwp} has the virtual CPU already")
            return
        self._scheduler.take(lwp)

    def unschedule(self) -> None:
        """Leave the kernel."""
        lwp = self._running("unschedule")
        if lwp is None:
            return
        if self._scheduler.kernel_locks:
            self._report(f"unschedule: {lwp} leaves with the kernel lock held")
        self._scheduler.give(lwp)
        if lwp.memory.exiting:
            self._lwps.clear(lwp)
            self._lwps.destroy(lwp)
        elif lwp.memory.leaving:
            lwp.memory.leaving = 0
            self._lwps.clear(lwp)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Around kernel code that a thread from outside runs."""
        self.schedule()
        try:
            yield
        finally:
            self.unschedule()

    def backend_unschedule(
        self, nlocks: int, countp: Any, interlock: int | None
    ) -> None:
        """Give up the CPU and the kernel lock inside a hypercall."""
        lwp = self._running("backend_unschedule")
        if lwp is None:
            return
        locks = self._scheduler.kernel_locks
        if not countp:
            self._report("backend_unschedule: no place for the number of locks")
        else:
            countp[0] = locks
        if lwp.inside:
            lwp.away = locks
        elif lwp.visitor:
            lwp.visitor = False
            if locks:
                self._report(f"{lwp} leaves with the kernel lock held")
        else:
            self._report("the virtual CPU was given up in a call that must not wait")
            lwp.away = locks
        self._scheduler.give(lwp, interlock or 0)

    def backend_schedule(self, nlocks: int, interlock: int | None) -> None:
        """Get the CPU back, and as many kernel locks as were given up."""
        lwp = self._lwps.current()
        if lwp is None:
            self._report("backend_schedule: the calling thread carries no lwp")
            return
        if self._scheduler.owner is lwp:
            self._report(f"backend_schedule: {lwp} has the virtual CPU already")
            return
        held, lwp.away = lwp.away, None
        if held is None:
            lwp.visitor = True
        if nlocks != (held or 0):
            self._report(
                f"backend_schedule: {lwp} gave up {held or 0} kernel locks and "
                f"is handed {nlocks}"
            )
        self._scheduler.take(lwp, interlock or 0)
        self._scheduler.kernel_locks = held or 0

    def lwproc_switch(self, address: int | None) -> None:
        """Let the calling thread carry another lwp; NULL: none after the visit."""
        lwp = self._running("lwproc_switch")
        if lwp is None:
            return
        if not address:
            lwp.memory.leaving = 1
            return
        other = self._lwps.at(address)
        if other is None:
            self._report(f"lwproc_switch: {address:#x} is no lwp")
        elif self._lwps.carried(other):
            self._report(f"lwproc_switch: {other} is in use by another thread")
        else:
            self._switch(lwp, other)

    def _switch(self, lwp: Lwp, other: Lwp) -> None:
        self._lwps.clear(lwp)
        self._lwps.set(other)
        self._scheduler.become(other)
        if lwp.memory.exiting:
            self._lwps.destroy(lwp)

    def lwproc_release(self) -> None:
        """End the lwp of the calling thread when it leaves the kernel."""
        lwp = self._running("lwproc_release")
        if lwp is None:
            return
        if lwp.memory.exiting:
            self._report(f"lwproc_release: {lwp} is ending already")
        lwp.memory.exiting = 1

    def lwproc_newlwp(self, pid: int) -> int:
        """Make an lwp in process ``pid`` and let the calling thread carry it."""
        lwp = self._running("lwproc_newlwp")
        if lwp is None or pid not in PROCESSES:
            return abi.ESRCH
        try:
            self._switch(lwp, self._lwps.create(pid, "component"))
        except MiniKernelError as error:
            return error.netbsd_errno
        return 0

    def lwproc_curlwp(self) -> int:
        """The lwp of the calling thread; NULL if it ends with the visit."""
        lwp = self._running("lwproc_curlwp")
        return 0 if lwp is None or lwp.memory.exiting else lwp.address

    def lwproc_rfork(self, private: int, flags: int, name: bytes) -> int:
        """For the syscall proxy, which this kernel does not have."""
        return abi.ENXIO

    def syscall(self, number: int, arguments: int, result: Any) -> int:
        """For the syscall proxy, which this kernel does not have."""
        return abi.ENXIO

    def lwpexit(self) -> None:
        """For the syscall proxy, which this kernel does not have."""

    def execnotify(self, name: bytes) -> None:
        """For the syscall proxy, which this kernel does not have."""

    def getpid(self) -> int:
        """The process of the calling thread; NetBSD's -1 is for the proxy."""
        lwp = self._running("getpid")
        return -1 if lwp is None else int(lwp.memory.pid)

    def _running(self, upcall: str) -> Lwp | None:
        """The lwp of the calling thread, which must have the CPU."""
        lwp = self._lwps.current()
        if lwp is None or self._scheduler.owner is not lwp:
            who = lwp or "a thread without an lwp"
            self._report(f"{upcall}: {who} does not have the virtual CPU")
            return None
        return lwp
