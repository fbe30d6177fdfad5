"""Block I/O: transfers that go on while the kernel goes on.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_bio.c, and for what the
kernel expects sys/rump/librump/rumpvfs/rumpblk.c and rump_vfs.c.
"""

from __future__ import annotations

import ctypes
import errno as host
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import Errno, to_netbsd
from rumphyper.hypercalls.families.param import Param
from rumphyper.hypercalls.report import HypercallError, Reporter
from rumphyper.hypercalls.upcalls import Upcalls

READ, WRITE, SYNC = 1, 2, 4
LANES = 4
"""Threads at most, and so files that are worked on at a time."""

WAITING = 127
"""Requests of one lane that wait at most; a further one waits to be taken."""

NOTHING = -1
"""In place of a descriptor."""

PATIENCE = 1.0
"""Seconds that the end of the threads is waited for."""

NOTHING_TO_SYNC = frozenset((host.EINVAL, host.EROFS, host.EOPNOTSUPP))
"""What fdatasync(2) says of files that have no cache to write out."""

BIODONE = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)

Job = Callable[[], object]


class Lane:
    """One thread and the requests that it does in the order they come.

    The thread has an lwp of the kernel's process 0, as biodone needs one.
    Raises RuntimeError when the host gives no further thread.
    """

    def __init__(self, name: str, upcalls: Upcalls) -> None:
        self._upcalls = upcalls
        self._jobs: deque[tuple[int, Job]] = deque()
        self._fd = NOTHING
        """The file that is being worked on."""
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def mine(self) -> bool:
        """Whether the calling thread is the lane's: biodone may ask for more."""
        return self._thread.ident == threading.get_ident()

    def put(self, fd: int, job: Job) -> bool:
        """Append a request, when there is room; False: the lane takes no more."""
        with self._changed:
            while len(self._jobs) >= WAITING and not self._ended and not self.mine():
                self._changed.wait()
            if self._ended:
                return False
            self._jobs.append((fd, job))
            self._changed.notify_all()
        return True

    def busy(self, fd: int) -> bool:
        """Whether there is something of a file that is not done."""
        with self._changed:
            return fd == self._fd or any(fd == queued for queued, _ in self._jobs)

    def end(self) -> None:
        """Let the thread end when it has done what is there."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for its end, but not for ever.

        The kernel may have stopped, and then it never gets a virtual CPU again.
        """
        if not self.mine():
            self._thread.join(seconds)

    def _next(self) -> Job | None:
        with self._changed:
            self._fd = NOTHING
            while not self._jobs and not self._ended:
                self._changed.wait()
            if not self._jobs:
                return None
            self._fd, job = self._jobs.popleft()
            self._changed.notify_all()
            return job

    def _work(self) -> None:
        upcalls = self._upcalls
        upcalls.schedule()
        upcalls.lwproc_newlwp(0)
        upcalls.unschedule()
        while (job := self._next()) is not None:
            job()
        upcalls.schedule()
        upcalls.lwproc_release()
        upcalls.unschedule()


class BlockIO:
    """The requests of rumpuser_bio, in lanes by their files.

    All of a file's requests are of one lane: they are done in the order in
    which they were made, while those of other files go on beside them. A lane's
    thread is made for its first request. Where there are to be no threads
    (RUMP_THREADS=0), can be none, or are none any more, who asks does the work.
    """

    def __init__(self, upcalls: Upcalls, param: Param) -> None:
        self.upcalls = upcalls
        self.reporter = Reporter()
        self._param = param
        self._lanes: dict[int, Lane] = {}
        self._lock = threading.Lock()
        self._closed = False
        kinds = (ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int64)
        prototype: Any = ctypes.CFUNCTYPE(ctypes.c_ssize_t, *kinds, use_errno=True)
        self._pread = prototype(("pread", libc()))
        self._pwrite = prototype(("pwrite", libc()))

    def bio(
        self,
        fd: int,
        op: int,
        data: int,
        dlen: int,
        off: int,
        biodone: int,
        donearg: int,
    ) -> None:
        """Start a transfer; ``biodone`` gets its octets and errno."""
        if not biodone:
            raise HypercallError("biodone", "it is a null pointer")
        job = functools.partial(
            self._transfer, fd, op, data, dlen, off, BIODONE(biodone), donearg
        )
        with self.upcalls.away():
            lane = self._lane(fd)
            if lane is None or not lane.put(fd, job):
                job()

    def drain(self, fd: int) -> None:
        """Wait until what was asked of a file before is done, if there is such.

        To be called without the virtual CPU, which the requests need.
        """
        lane = self._lanes.get(fd % LANES)
        if lane is None or lane.mine() or not lane.busy(fd):
            return
        over = threading.Event()
        if lane.put(fd, over.set):
            over.wait()

    def close(self) -> None:
        """End the threads, when they have finished what they were asked for."""
        with self._lock:
            self._closed = True
            lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            lane.end()
        until = time.monotonic() + PATIENCE
        for lane in lanes.values():
            lane.wait(max(0.0, until - time.monotonic()))

    def _lane(self, fd: int) -> Lane | None:
        number = fd % LANES
        lane = self._lanes.get(number)
        if lane is None and (self._param.value("RUMP_THREADS") or "1")[0] != "0":
            with self._lock:
                lane = self._lanes.get(number)
                if lane is None and not self._closed:
                    lane = self._new_lane(number)
        return lane

    def _new_lane(self, number: int) -> Lane | None:
        try:
            lane = Lane(f"rumpbio {number}", self.upcalls)
        except RuntimeError as error:  # the host gives no further thread
            self.reporter.say(f"rumpuser_bio: {error}: transfers wait for each other")
            return None
        self._lanes[number] = lane
        return lane

    def _transfer(
        self,
        fd: int,
        op: int,
        data: int,
        dlen: int,
        off: int,
        biodone: Callable[[int, int, int], None],
        donearg: int,
    ) -> None:
        try:
            octets, error = self._move(fd, op, data, dlen, off)
        except BaseException as problem:  # or the kernel would wait for ever
            self.reporter.exception("rumpuser_bio", problem)
            octets, error = 0, Errno.EIO
        upcalls = self.upcalls
        upcalls.backend_schedule(0, 0)
        try:
            biodone(donearg, octets, error)
        finally:
            upcalls.give_up()

    def _move(
        self, fd: int, op: int, data: int, dlen: int, off: int
    ) -> tuple[int, int]:
        """Octets moved, and NetBSD's errno."""
        if op & READ:
            move = self._pread
        elif op & WRITE:
            move = self._pwrite
        else:
            return 0, Errno.EINVAL
        while (done := move(fd, data, dlen, off)) < 0:
            number = ctypes.get_errno()
            if number != host.EINTR:
                return 0, to_netbsd(number)
        if op & SYNC and not op & READ:
            try:
                os.fdatasync(fd)
            except OSError as error:
                if error.errno not in NOTHING_TO_SYNC:
                    return 0, to_netbsd(error.errno or 0)
        return done, 0
