"""The connection to xenstored: many requests at once, and what it tells unasked.

There is no thread here: whoever waits for something reads for all others. Facts:
Xen docs/misc/xenstore.txt; Linux drivers/xen/xenbus/xenbus_dev_frontend.c, which
does not keep the request id in its answers to WATCH and UNWATCH, and sends a
request's payload from a buffer that the next write(2) overwrites. So of requests
through the kernel the next one is held back here until the one before is answered.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

import attrs

from rumphyper.errors import RumphyperError
from rumphyper.host.libc import from_oserror
from rumphyper.xen.errors import (
    XenstoreError,
    XenstoreGoneError,
    XenstoreProtocolError,
    XenstoreTimeoutError,
)
from rumphyper.xen.wire import RESTART, Decoder, Kind, Message, refusal

CHUNK = 1 << 16
STUCK = 10_000
"""Milliseconds after which a peer that takes nothing counts as gone."""
CONTROL = (Kind.WATCH, Kind.UNWATCH)
GONE = "start xenstored again, and this program with it"


@attrs.define(eq=False)
class Pending:
    """A request under way."""

    channel: Channel
    message: Message
    thing: str
    """What an error is about."""
    answer: Message | None = None
    failure: RumphyperError | None = None
    """Why it could not be sent."""

    def done(self) -> bool:
        return self.answer is not None or self.failure is not None

    def result(self, timeout: float) -> bytes:
        """The answer's payload.

        Raises XenstoreError (what xenstored said), XenstoreTimeoutError,
        XenstoreGoneError, XenstoreProtocolError.
        """
        if not self.channel.until(self.done, timeout):
            self.channel.abandon(self)
            cause = f"xenstored did not answer within {timeout:g} s"
            raise XenstoreTimeoutError(self.thing, cause, "see whether it still runs")
        if self.failure is not None:
            raise self.failure
        answer = self.answer
        assert answer is not None
        if answer.kind == Kind.ERROR:
            raise refusal(answer.payload, self.thing)
        if answer.kind != self.message.kind:
            cause = f"type {self.message.kind} was answered by type {answer.kind}"
            raise XenstoreProtocolError(self.thing, cause, RESTART)
        return answer.payload


class Channel:
    """Messages over ``fd``, which does not wait and belongs to the channel.

    ``on_event`` is called with each watch event, by whichever thread reads;
    ``one_by_one`` is for the kernel's node (see this module's text).
    """

    def __init__(
        self,
        fd: int,
        name: str,
        on_event: Callable[[Message], None],
        *,
        one_by_one: bool = False,
    ) -> None:
        self._fd = fd
        self.name = name
        self._on_event = on_event
        self._decoder = Decoder()
        self._one_by_one = one_by_one
        self._unsent: deque[Pending] = deque()
        self._pending: dict[int, Pending] = {}
        """Sent and not answered, the oldest first."""
        self._abandoned: set[int] = set()
        self._next = 0
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._reading = False
        self._failure: RumphyperError | None = None
        self._bell = os.pipe()

    def fileno(self) -> int:
        """Readable when `pump` has something to do."""
        return self._fd

    def submit(
        self, kind: int, payload: bytes, thing: str, transaction: int = 0
    ) -> Pending:
        """Send a request, without waiting for its answer."""
        with self._changed:
            self._check()
            self._next = self._next % 0xFFFFFFFF + 1
            message = Message(kind, self._next, transaction, payload)
            pending = Pending(self, message, thing)
            message.encode()  # which says what is wrong with it, here
            self._unsent.append(pending)
        self._send()
        return pending

    def _send(self) -> None:
        """Send what may be sent."""
        with self._writing:  # so that messages stay whole
            while True:
                with self._changed:
                    waits = self._one_by_one and (self._pending or self._abandoned)
                    if not self._unsent or waits or self._failure is not None:
                        return
                    pending = self._unsent.popleft()
                    self._pending[pending.message.request] = pending
                    fd = self._fd  # which stays open as long as we write
                try:
                    self._write(fd, pending.message.encode())
                except OSError as error:
                    with self._changed:
                        self._pending.pop(pending.message.request, None)
                        pending.failure = self._write_error(error, pending)
                        self._changed.notify_all()

    def _write(self, fd: int, octets: bytes) -> None:
        while octets:
            try:
                octets = octets[os.write(fd, octets) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(fd, select.POLLOUT)
                poll.register(self._bell[0], select.POLLIN)
                if not poll.poll(STUCK) or self._failure is not None:
                    raise BrokenPipeError from None

    def _write_error(self, error: OSError, pending: Pending) -> RumphyperError:
        if isinstance(error, ConnectionError):  # and what it was may be cut off
            if self._failure is None:
                self._failure = XenstoreGoneError(self.name, "xenstored is gone", GONE)
            return self._failure
        # The kernel's xenbus refuses by write(2) what it can see to be wrong.
        found = from_oserror(error, pending.thing)
        return XenstoreError(found.thing, found.cause, found.remedy, found.errno)

    def abandon(self, pending: Pending) -> None:
        """Forget a request: nobody waits for its answer any more."""
        with self._changed:
            if pending in self._unsent:
                self._unsent.remove(pending)
            if self._pending.pop(pending.message.request, None) is not None:
                self._abandoned.add(pending.message.request)

    # -- reading ----------------------------------------------------------------

    def until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Read until ``done``, at most so many seconds; whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            with self._changed:
                while self._reading and not done():
                    if not self._changed.wait(left):
                        return done()
                    left = None if deadline is None else deadline - time.monotonic()
                if done():
                    return True
                self._check()
                if left is not None and left < 0:
                    return False
                self._reading = True
            self._read(left)

    def pump(self) -> None:
        """Take what has arrived, without waiting. Raises XenstoreGoneError."""
        with self._changed:
            self._check()
            if self._reading:
                return
            self._reading = True
        self._read(0)
        with self._changed:
            self._check()

    def _read(self, timeout: float | None) -> None:
        """Wait for octets and hand messages out; the caller has set ``_reading``."""
        messages: list[Message] = []
        failure: RumphyperError | None = None
        try:
            messages = self._receive(timeout)
        except RumphyperError as error:
            failure = error
        finally:
            with self._changed:
                self._reading = False
                for message in messages:
                    try:
                        self._dispatch(message)
                    except RumphyperError as error:
                        failure = error
                if failure is not None and self._failure is None:
                    self._failure = failure
                self._changed.notify_all()
        if self._unsent and messages:
            self._send()

    def _receive(self, timeout: float | None) -> list[Message]:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._bell[0], select.POLLIN)
        poll.poll(None if timeout is None else max(0.0, timeout * 1000))
        try:
            octets = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return []
        except OSError as error:
            cause = f"xenstored is gone: {error.strerror}"
            raise XenstoreGoneError(self.name, cause, GONE) from None
        if not octets:
            raise XenstoreGoneError(self.name, "xenstored is gone", GONE)
        return self._decoder.feed(octets)

    def _dispatch(self, message: Message) -> None:
        if message.kind == Kind.WATCH_EVENT:
            self._on_event(message)
            return
        pending = self._pending.pop(message.request, None)
        if pending is None and message.kind in CONTROL and message.request == 0:
            # The kernel's own answer: to the oldest such request.
            for number, candidate in self._pending.items():
                if candidate.message.kind == message.kind:
                    pending = self._pending.pop(number)
                    break
        if pending is not None:
            pending.answer = message
        elif message.request in self._abandoned:
            self._abandoned.discard(message.request)
        else:
            cause = f"an answer to request {message.request}, which is not in flight"
            raise XenstoreProtocolError(self.name, cause, RESTART)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """Wake everybody who waits, with an error, and close. Idempotent."""
        with self._changed:
            if self._fd < 0:
                return
            self._failure = XenstoreGoneError(
                self.name, "the connection to xenstored was closed", "open it again"
            )
            os.write(self._bell[1], b"!")
            while self._reading:
                self._changed.wait()
            self._changed.notify_all()
            if self._fd < 0:  # meanwhile another thread has come to close it, too
                return
            fd, self._fd = self._fd, -1
        with self._writing:
            for end in (fd, *self._bell):
                with contextlib.suppress(OSError):
                    os.close(end)
