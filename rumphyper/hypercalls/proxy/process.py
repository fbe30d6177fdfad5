"""The kernel's side: processes of clients, and the lwps that run their calls.

A worker thread has an lwp of its own, in process 1, and is on it whenever it is
not doing something for a client: entering the kernel without one would make and
free a temporary lwp each time. For a call it takes on an lwp of the client's
process; the lwp is kept for the next call, on whichever thread.

Facts: NetBSD sys/rump/kern/lib/libsysproxy/sysproxy.c (hyp_*),
sys/rump/librump/rumpkern/lwproc.c and scheduler.c.
"""

from __future__ import annotations

import ctypes

from rumphyper.errors import HostError
from rumphyper.hypercalls.errno import to_host
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.proxy.frames import MAX_ARGS
from rumphyper.hypercalls.upcalls import Upcalls

INIT = 1
"""The process that guests are forked off; only there they get descriptors 0-2."""

SHARE, COPY, CLEAR = range(3)
"""What becomes of descriptors in a fork: RUMP_RFFD_* (rump/rump.h)."""

KEPT = 4
"""Idle lwps of one process."""

ROOM = 2 * MAX_ARGS
"""Octets of arguments that the kernel gets to see; what was not sent is 0."""


class Worker:
    """One thread's place in the kernel; to be made and used on that thread."""

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        self.returned = (ctypes.c_long * 2)()
        upcalls.schedule()
        error = upcalls.lwproc_newlwp(INIT)
        self.home = 0 if error else upcalls.lwproc_curlwp() or 0
        upcalls.unschedule()
        if not self.home:
            raise HostError(
                "syscall proxy",
                "the kernel has no lwp for a worker",
                "end some of its clients",
                to_host(error),
            )

    def end(self) -> None:
        """Give the lwp back."""
        upcalls = self.upcalls
        upcalls.schedule()
        upcalls.lwproc_release()
        upcalls.unschedule()

    def discard(self, lwp: int) -> None:
        """End an lwp that no thread is on, and with the last one its process."""
        upcalls = self.upcalls
        upcalls.schedule()
        upcalls.lwproc_switch(lwp)
        upcalls.lwproc_release()
        upcalls.lwproc_switch(self.home)
        upcalls.unschedule()


class Process:
    """A process of the kernel whose memory is a client's.

    `call` may run on several workers at the same time; the others on one,
    without calls, and without another one of them.
    """

    def __init__(self, abi: Abi, pid: int, main: int) -> None:
        self.abi = abi
        self.pid = pid
        self._main = main  # never runs calls, so it can always be taken on
        self._woken = False
        self._kept: list[int] = []

    @classmethod
    def guest(
        cls, worker: Worker, abi: Abi, client: int, name: bytes
    ) -> Process | None:
        """A process without parents for ``client``; None if the kernel refuses."""
        upcalls = worker.upcalls
        with abi.making():
            upcalls.schedule()
            error = upcalls.lwproc_rfork(client, CLEAR, name)
            made = None if error else cls._forked(worker, abi)
            upcalls.unschedule()
        return made

    @classmethod
    def adopt(cls, worker: Worker, abi: Abi, client: int, lwp: int) -> Process | None:
        """For ``client`` what `fork` has made; ``lwp`` is used up."""
        upcalls = worker.upcalls
        with abi.making():
            upcalls.schedule()
            # It has the descriptors, but belongs to the client that forked.
            upcalls.lwproc_switch(lwp)
            error = upcalls.lwproc_rfork(client, SHARE, None)
            made = None if error else cls._forked(worker, abi)
            if made is not None:
                upcalls.lwproc_switch(lwp)
            upcalls.lwproc_release()
            upcalls.lwproc_switch(worker.home)
            upcalls.unschedule()
        return made

    @classmethod
    def _forked(cls, worker: Worker, abi: Abi) -> Process:
        """The process that the worker has forked, and is on; then it is home."""
        upcalls = worker.upcalls
        made = cls(abi, upcalls.getpid(), upcalls.lwproc_curlwp() or 0)
        upcalls.lwproc_switch(worker.home)
        return made

    def fork(self, worker: Worker, client: int) -> tuple[int, int]:
        """Copy the process with its descriptors; errno, and an lwp of the copy."""
        upcalls = worker.upcalls
        with self.abi.making():
            upcalls.schedule()
            upcalls.lwproc_switch(self._main)
            error = upcalls.lwproc_rfork(client, COPY, None)
            lwp = 0 if error else upcalls.lwproc_curlwp() or 0
            upcalls.lwproc_switch(worker.home)
            upcalls.unschedule()
        return error, lwp

    def call(self, worker: Worker, number: int, args: bytes) -> tuple[int, int, int]:
        """Make a system call; errno and the two words of the result, by the ABI."""
        upcalls = worker.upcalls
        kept = self._kept
        upcalls.schedule()
        try:
            lwp = kept.pop()
        except IndexError:
            error = upcalls.lwproc_newlwp(self.pid)
            if error:
                upcalls.unschedule()
                return self.abi.errno(error), -1, 0
            lwp = upcalls.lwproc_curlwp() or 0
        else:
            upcalls.lwproc_switch(lwp)
            # Entering anew it takes over what another lwp has set: credentials.
            upcalls.unschedule()
            upcalls.schedule()
        returned = worker.returned
        returned[0] = returned[1] = 0
        # The kernel reads as many arguments as the call has, sent or not.
        error = self.abi.syscall(number, args.ljust(ROOM, b"\0"), returned)
        keep = len(kept) < KEPT
        if not keep:
            upcalls.lwproc_release()
        upcalls.lwproc_switch(worker.home)
        upcalls.unschedule()
        if keep:
            kept.append(lwp)
        return error, returned[0], returned[1]

    def wake(self, worker: Worker, again: bool = False) -> bool:
        """Let all calls that sleep come back; no new ones until `executed`.

        ``again`` is for those that have not, see waking.py. False: not needed.
        """
        if self._woken != again:
            return False
        self._woken = True
        upcalls = worker.upcalls
        upcalls.schedule()
        upcalls.lwproc_switch(self._main)
        upcalls.lwpexit()
        upcalls.lwproc_switch(worker.home)
        upcalls.unschedule()
        return True

    def executed(self, worker: Worker, name: bytes) -> None:
        """After `wake`: a new program; closes what is closed on exec."""
        self._forget_lwps(worker)
        upcalls = worker.upcalls
        upcalls.schedule()
        upcalls.lwproc_switch(self._main)
        upcalls.execnotify(name)
        upcalls.lwproc_switch(worker.home)
        upcalls.unschedule()
        self._woken = False

    def end(self, worker: Worker) -> None:
        """After `wake`: the process is no more, its descriptors are closed."""
        self._forget_lwps(worker)
        worker.discard(self._main)

    def _forget_lwps(self, worker: Worker) -> None:
        while self._kept:
            worker.discard(self._kept.pop())
