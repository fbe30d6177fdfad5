"""One connection to a server of the syscall proxy: many requests at a time.

Who waits for an answer reads the connection itself, if nobody else does: with
one thread there is no hand-over. The reader gives other threads their answers,
serves the server's own requests, and when it has its answer it wakes one of
those that still wait, to read on. The same is in NetBSD's
lib/librumpclient/rumpclient.c (cliwaitresp).

Signals: handlers are held back while the main thread is in here (interrupt.py).
When the connection has been silent for `SLICE` seconds it looks up and runs
them. A handler that raises leaves its call to the server; the answer is dropped
when it comes, and what it would write with it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref

from rumphyper.errors import ProtocolError, ServerGoneError
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import HEADER, REQ, Frame
from rumphyper.kernel.interrupt import GUARD, SLICE, WATCHED
from rumphyper.kernel.remotehandshake import FIRST_REQUEST, Opened
from rumphyper.kernel.remotememory import Range
from rumphyper.kernel.remoterequests import ServerRequests
from rumphyper.kernel.remotewire import CLOSED, GONE, PATIENCE, Wire

_pack = HEADER.pack
_HEADER_SIZE = HEADER.size
_get_ident = threading.get_ident


class Waiter:
    """A call in flight: what it lends, and its answer."""

    __slots__ = ("abandoned", "awake", "frame", "ranges")

    def __init__(self, ranges: list[Range]) -> None:
        self.ranges = ranges
        self.frame: Frame | None = None
        self.abandoned = False
        """The caller has given up; its memory is no more the call's."""

        self.awake = threading.Lock()
        self.awake.acquire()

    def wake(self) -> None:
        """Let the thread look what there is for it. Any number of times."""
        try:
            self.awake.release()
        except RuntimeError:
            pass


class Connection:
    """A process of a kernel elsewhere. Any thread may make requests."""

    def __init__(self, opened: Opened, name: str) -> None:
        self.name = name
        self._wire = Wire(opened.socket, name)
        self._decoder = opened.decoder
        self._reader = threading.Lock()
        """Held by the thread that reads the connection."""

        self._main_reads = False
        self._waiting: dict[int, Waiter] = {}
        self._requests = ServerRequests(self._waiting)
        self._numbers = itertools.count(FIRST_REQUEST)
        _connections.add(self)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, for whatever reason."""
        return self._wire.why is not None

    def request(self, kind: int, word: int, body: bytes, ranges: list[Range]) -> Frame:
        """Send a request and return the response, or error, to it.

        ``ranges`` are lent to the server meanwhile; the caller keeps them in
        place. Raises ServerGoneError when the connection has ended or ends, and
        what signal handlers raise.
        """
        if _get_ident() != GUARD.main:
            return self._request(kind, word, body, ranges)
        GUARD.depth += 1  # what Guard.enter and leave do, for all signals
        try:
            GUARD.adopt_new()
            return self._request(kind, word, body, ranges)
        finally:
            GUARD.depth -= 1
            if GUARD.pending and not GUARD.depth:
                GUARD.deliver()

    def _request(self, kind: int, word: int, body: bytes, ranges: list[Range]) -> Frame:
        waiter = Waiter(ranges)
        number = next(self._numbers)
        self._waiting[number] = waiter
        try:
            header = _pack(_HEADER_SIZE + len(body), number, REQ, kind, word)
            self._wire.send(header + body)
            while waiter.frame is None:
                if self._wire.closed:
                    raise self._wire.error()
                if self._reader.acquire(False):
                    self._read_for(waiter)
                else:
                    self._wait_for(waiter)
            return waiter.frame
        except BaseException:
            with self._requests.lock:
                waiter.abandoned = True
            self._pass_on()  # if it was our turn to read, it is another's now
            raise

    # reading

    def _read_for(self, waiter: Waiter) -> None:
        """Read until ``waiter`` has its answer, a signal came or all is over."""
        self._main_reads = _get_ident() == GUARD.main
        try:
            self._read(waiter)
        except (OSError, ProtocolError) as error:
            self._wire.hang_up(GONE, error)
            self._end()
        finally:
            self._main_reads = False
            self._reader.release()
            self._pass_on()
        if self._requests.signals:
            self._requests.raise_signals()
        if waiter.frame is None:
            self._look_up()

    def _read(self, waiter: Waiter) -> None:
        decoder, wire = self._decoder, self._wire
        noticed = 0.0
        while waiter.frame is None and not wire.closed:
            frame = decoder.next()
            if frame is not None:
                self._take(frame)
                continue
            try:
                octets = wire.recv(65536)
            except BlockingIOError:  # the slice is over
                if GUARD.pending and self._main_reads:
                    return
                continue
            if not octets:
                wire.hang_up(GONE)
                self._end()
                return
            decoder.feed(octets)
            if GUARD.pending and self._main_reads:
                noticed = noticed or time.monotonic()
                if time.monotonic() - noticed > PATIENCE:
                    return

    def _take(self, frame: Frame) -> None:
        """Deal with a frame of the server's."""
        if frame.cls == REQ:
            answer = self._requests.serve(frame)
            if answer:
                self._wire.send(answer)
            return
        waiter = self._waiting.pop(frame.reqno, None)
        if waiter is None:
            self._requests.unasked(frame)
        else:
            waiter.frame = frame
            waiter.wake()

    def _pass_on(self) -> None:
        """Wake one of those that wait: it reads on."""
        if self._wire.why is not None:
            self._finish()
        for waiter in list(self._waiting.values()):
            if not waiter.abandoned:
                waiter.wake()
                return

    def _wait_for(self, waiter: Waiter) -> None:
        """Sleep until there is an answer, or nobody reads."""
        if _get_ident() != GUARD.main:
            waiter.awake.acquire()
        elif self._main_reads:
            raise RuntimeError(
                "a signal's handler calls the kernel in the middle of a call; "
                f"only those of {', '.join(one.name for one in WATCHED)} can"
            )
        elif not waiter.awake.acquire(True, SLICE):
            self._look_up()

    def _look_up(self) -> None:
        """Run the handlers of signals that came; raises what they raise."""
        if GUARD.pending and GUARD.depth == 1 and _get_ident() == GUARD.main:
            GUARD.depth = 0
            try:
                GUARD.deliver()
            finally:
                GUARD.depth = 1

    # the end

    def close(self) -> None:
        """End the connection and wake those who wait. Idempotent."""
        self._wire.hang_up(CLOSED)
        self._finish()

    def reject(self, frame: Frame, cause: str) -> ServerGoneError:
        """End the connection for an answer that cannot be; what to raise."""
        name = frames.describe(frame.cls, frame.type)
        self._wire.hang_up(GONE, ProtocolError(name, cause))
        self._finish()
        return self._wire.error()

    def _finish(self) -> None:
        """`_end`, unless somebody reads: then it is the reader's to do."""
        if self._reader.acquire(False):
            try:
                self._end()
            finally:
                self._reader.release()

    def _end(self) -> None:
        """Close the socket and wake everybody. Only for who holds the reader."""
        self._wire.close()
        for waiter in list(self._waiting.values()):
            waiter.wake()
        self._waiting.clear()

    def after_fork(self) -> None:
        """In the child: let go of what is the parent's."""
        self._reader = threading.Lock()
        self._requests.lock = threading.Lock()
        self._waiting.clear()
        self._wire.after_fork()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_connections):
        connection.after_fork()


os.register_at_fork(after_in_child=_after_fork)
