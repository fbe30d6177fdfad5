"""The socket to a server of the syscall proxy: whole frames, and one end.

Whatever goes wrong on it is the end of the connection, and the first cause is
what everybody is told.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from rumphyper.errors import ServerGoneError
from rumphyper.kernel.interrupt import GUARD, SLICE

PATIENCE = 5.0
"""Seconds that a signal waits for a server which takes no more of a frame, or
which keeps its client busy and does not answer."""

GONE = ("the server is gone", "see whether it still runs, then connect again")
CLOSED = ("the connection was closed", "connect again")
FORKED = (
    "the connection belongs to the process that this one was forked from",
    "connect in the child, with prefork() for copies of the descriptors",
)
_STUCK = ("the server takes no answer", "see whether it still runs")
_TIMEVAL = struct.pack("ll", 0, int(SLICE * 1e6))


class Wire:
    """Sends and receives for a connection; ``name`` is what errors call it.

    Any thread sends; one at a time receives, and only that one may `close`.
    """

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.name = name
        self.why: tuple[str, str] | None = None
        """Cause and remedy of the end, which has come when this is set."""

        self.closed = False
        self._cause: Exception | None = None
        self._socket = sock
        self._sending = threading.Lock()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL)
        self.recv = sock.recv
        """Octets, empty at the end; BlockingIOError when a slice is over."""

    def send(self, octets: bytes) -> None:
        """Send a frame as a whole, or hang up."""
        with self._sending:
            if self.why is not None:
                return
            try:
                done = self._socket.send(octets)
            except BlockingIOError:
                done = 0
            except OSError as error:
                self.hang_up(GONE, error)
                return
            if done < len(octets):
                self._send_rest(memoryview(octets)[done:])

    def _send_rest(self, octets: memoryview) -> None:
        """Send on while the server takes it; part of a frame is of no use."""
        moved = time.monotonic()
        while octets and self.why is None:
            try:
                octets = octets[self._socket.send(octets) :]
                moved = time.monotonic()
            except BlockingIOError:
                if GUARD.pending and time.monotonic() - moved > PATIENCE:
                    self.hang_up(_STUCK)
            except OSError as error:
                self.hang_up(GONE, error)

    def hang_up(self, why: tuple[str, str], cause: Exception | None = None) -> None:
        """Let nobody send any more, and who receives see the end."""
        if self.why is None:
            self._cause = cause
            self.why = (f"{why[0]}: {cause}", why[1]) if cause else why
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Give the socket back, once nobody sends."""
        self.closed = True
        with self._sending:
            self._socket.close()

    def error(self) -> ServerGoneError:
        """What to raise after the end."""
        error = ServerGoneError(self.name, *(self.why or GONE))
        error.__cause__ = self._cause
        return error

    def after_fork(self) -> None:
        """In the child: let go of what is the parent's."""
        self.why = FORKED
        self._sending = threading.Lock()
        self.close()
