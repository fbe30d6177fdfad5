"""One client of the server: its connection, and what is going on for it."""

from __future__ import annotations

import contextlib
import itertools
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.proxy.limits import Limits
from rumphyper.hypercalls.proxy.stream import Answer, Stream

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.process import Process, Worker

    Then = Callable[["Worker", "Client"], None]

_TIMEVAL = struct.Struct("@ll")


class Client:
    """A connection, and the kernel's process behind it once it has shaken hands.

    Threads meet here by these rules. Who holds ``reading`` reads, and whenever
    nobody does the poller watches the socket. Who holds ``main`` may make, use and
    end the process's main lwp. Whoever uses the socket or the process has entered
    (`enter`, `leave`), so both last until the last one has left.
    """

    def __init__(self, sock: socket.socket, handle: int, limits: Limits) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.handle = handle
        """What the kernel knows it by."""

        self.born = time.monotonic()
        self.died = math.inf
        """When that was, of time.monotonic as ``born``."""

        self.process: Process | None = None
        self.answers: dict[int, Answer] = {}
        self.stream = Stream(sock, self.answers)
        self.numbers = itertools.count()
        """Of our own requests."""

        self.reading = threading.Lock()
        self.main = threading.Lock()
        self.gone = False
        self.executing = False
        """Whether it is becoming another program, and its calls have to end."""

        self._limits = limits
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._calls = 0
        self._then: Then | None = None
        self._signals: set[int] = set()
        # Every wait for the client ends, whichever call of it that is.
        whole, part = divmod(limits.patience, 1)
        timeout = _TIMEVAL.pack(int(whole), int(part * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, timeout)

    def __str__(self) -> str:
        process = self.process
        return f"client {self.handle}" + (f" (pid {process.pid})" if process else "")

    def enter(self) -> int:
        """Begin to use socket and process; 0, or the errno of a refusal."""
        with self._lock:
            if self.gone:
                return Errno.ENOTCONN
            if self.executing:
                return Errno.EBUSY
            if self._calls >= self._limits.calls:
                return Errno.EAGAIN
            self._calls += 1
            return 0

    def leave(self) -> Then | None:
        """End it; what has waited for the last one to leave has to be done then."""
        with self._lock:
            self._calls -= 1
            if self._calls or self._then is None:
                return None
            then, self._then = self._then, None
            return then

    def linger(self) -> bool:
        """Enter though it is dead, if somebody is in still; `leave` follows."""
        with self._lock:
            if not self._calls:
                return False
            self._calls += 1
            return True

    def when_left(self, then: Then) -> Then | None:
        """Let the last one to leave do ``then``; it comes back if nobody is in."""
        with self._lock:
            if not self._calls:
                self._then = None
                return then
            self._then = then
            return None

    def add_signal(self, signo: int) -> bool:
        """Keep a signal to be raised in the client; whether it is the first."""
        with self._lock:
            first = not self._signals
            self._signals.add(signo)
            return first

    def take_signals(self) -> set[int]:
        """What was kept, each once, as a process keeps them."""
        with self._lock:
            signals, self._signals = self._signals, set()
            return signals

    def execute(self) -> None:
        """Nobody else enters, all waits end: the program asked is no more.

        For the thread that reads.
        """
        self.executing = True
        self.stream.abandon()

    def die(self) -> bool:
        """Nobody enters any more, all waits end; False if it was dead before."""
        with self._lock:
            if self.gone:
                return False
            self.gone, self.died = True, time.monotonic()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        return True

    def stop_reading(self) -> None:
        """After `die`: nobody reads any more, all answers have failed."""
        self.reading.acquire()  # for good; who has it gets to see the end
        self.stream.abandon()

    def send(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Send them as one; waits for the client, but not for ever.

        Raises OSError, TimeoutError among them.
        """
        with self._sending:
            deadline = time.monotonic() + self._limits.patience
            for piece in pieces:
                sent = self._send(piece)
                while sent < len(piece):
                    if time.monotonic() > deadline:
                        raise TimeoutError
                    sent += self._send(memoryview(piece)[sent:])

    def _send(self, piece: bytes | bytearray | memoryview) -> int:
        try:
            return self.socket.send(piece, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            raise TimeoutError from None
