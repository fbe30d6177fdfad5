"""Frames sent one by one in a tight loop, gathered to batches.

A lone frame on a shmif bus costs as much as a dozen in one batch: the lock,
the check of the file and above all the write(2) that wakes the others. A
program that sends frames one by one without doing anything in between would
pay that for each. So from the `FEW`-th such frame in a row on they wait in the
sender until there are `MOST`, as a network card's driver rings its doorbell
once for several frames.

No frame waits where anybody could be waiting for it: a send that comes more
than `TIGHT_NS` after the last one is never gathered and takes along what has
been; so does whatever this process does next with any shmif bus. When a loop
breaks off, a thread puts the rest on the bus within `PERIOD`. It is one for
the process and starts with the first run.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Protocol

from rumphyper.errors import RumphyperError

TIGHT_NS = 2_000
"""A run is of sends of which each starts so soon after the one before ended."""
FEW = 8
"""Sends of a run before frames are gathered."""
MOST = 64
"""Frames that go on the bus together."""
PERIOD = 1e-3
"""Seconds that a frame waits when its run breaks off, give or take the scheduler."""

Put = Callable[[Sequence[bytes]], None]


class SenderLock(Protocol):
    """What of a threading.RLock is used here."""

    def acquire(self, blocking: bool = ...) -> bool: ...
    def release(self) -> None: ...


class Gatherer:
    """The frames of one sender that wait to be put on the bus.

    ``put`` puts a batch there and is called with ``lock`` held, the sender's
    lock, under which `add` and `flush` are called, too.
    """

    def __init__(self, put: Put, lock: SenderLock) -> None:
        self._put = put
        self.lock = lock
        self._waiting: list[bytes] = []
        self._tight_until = 0
        self._looked = 0
        self._run = 0
        self.armed = False
        self._error: RumphyperError | None = None
        _all.add(self)

    def add(self, frame: bytes) -> None:
        """Put a frame on the bus, or let it wait. Raises what ``put`` does.

        That may be an error of frames that have waited.
        """
        now = monotonic_ns()
        if now < self._tight_until and self._run >= FEW:
            waiting = self._waiting
            waiting.append(frame)
            if len(waiting) < MOST:
                # The time of this call is added by way of a wider margin.
                self._tight_until = now + 2 * TIGHT_NS
                return
            self.flush()
        elif now < self._tight_until:
            self._run += 1
            self._put((frame,))
            if self._run == FEW and not (self.armed or _helper.arm(self)):
                self._run = 0
        else:
            # Somebody else may just have had the processor: a run that goes on
            # after one pause need not prove itself again.
            self._run = FEW - 1 if self.armed else 0
            self._waiting.append(frame)
            self.flush()
        self._tight_until = monotonic_ns() + TIGHT_NS

    def flush(self) -> None:
        """Put what waits on the bus; raises what ``put`` does."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._put(waiting)

    def look(self) -> bool:
        """What the thread does; false when the run is over."""
        over = self._tight_until == self._looked
        self._looked = self._tight_until
        try:
            self.flush()
        except RumphyperError as error:
            self._error = error  # for the next call of the sender
            over = True
        if over:
            self._run = 0
            self.armed = False
        return not over

    def forget(self) -> None:
        """Drop what waits, as a forked child does: its parent will send it."""
        self._waiting = []
        self._run = 0
        self.armed = False


class _Helper:
    """The thread that flushes runs which have broken off."""

    def __init__(self) -> None:
        self.senders: set[Gatherer] = set()
        self._thread: threading.Thread | None = None
        self._gate = threading.Lock()
        self._gate.acquire()
        self.busy = threading.RLock()

    def arm(self, sender: Gatherer) -> bool:
        """Look after ``sender``, whose lock is held; false when that cannot be."""
        if self._thread is None:
            name = "rumphyper-shmif"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter ends
                return False
            self._thread = thread
        sender.armed = True
        self.senders.add(sender)
        with contextlib.suppress(RuntimeError):  # open already
            self._gate.release()
        return True

    def _run(self) -> None:
        while True:
            self._gate.acquire()
            while self.senders:
                time.sleep(PERIOD)
                self.look()

    def look(self) -> None:
        """Flush every sender that is not in the middle of a send.

        Returns at once when another thread is about it.
        """
        if not self.busy.acquire(blocking=False):
            return
        try:
            for sender in list(self.senders):
                if sender.lock.acquire(blocking=False):
                    try:
                        if not sender.look():
                            self.senders.discard(sender)
                    finally:
                        sender.lock.release()
        finally:
            self.busy.release()


_all: weakref.WeakSet[Gatherer] = weakref.WeakSet()
_helper = _Helper()


def flush_all() -> None:
    """Put all that waits in this process on its bus."""
    if _helper.senders:
        _helper.look()


def _after_fork() -> None:
    global _helper
    _helper = _Helper()
    for sender in _all:
        sender.forget()


def _before_fork() -> None:
    # The child must not find the helper in the middle of a look, with a
    # sender's lock held for ever.
    _helper.busy.acquire()


def _in_parent() -> None:
    _helper.busy.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_in_parent, after_in_child=_after_fork
)
atexit.register(flush_all)
