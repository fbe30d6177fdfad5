"""Becoming a daemon: fork before booting, detach when that went well.

Facts: rump_daemonize(3); NetBSD lib/librumpuser/rumpuser_daemonize.c.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterable
from typing import NoReturn

from rumphyper.host.process import state_of
from rumphyper.hypercalls.errno import Errno, from_oserror
from rumphyper.hypercalls.families.termination import flush_all
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls

OUTCOME = struct.Struct("=i")
"""What the child tells its parent: the errno of booting."""

STANDARD = (0, 1, 2)


class Daemonize(Family):
    """Forks while the process has one thread only.

    The parent waits and ends with the outcome as its status: 0, or an errno;
    ESRCH when the child ended without telling. The child leads a session of its
    own, and reads and writes /dev/null from the good end of booting on.
    """

    family = "daemonize"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        self._begun = False
        self._parent: socket.socket | None = None

    def daemonize_begin(self) -> int:
        """Fork; only the child returns.

        A fork takes the calling thread along and nobody else. With a kernel, or
        with threads of Python, the child would wait for ever for locks that
        those hold: refused with EINVAL.
        """
        if self._begun:
            return Errno.EINPROGRESS
        state = state_of(os.getpid())
        threads = state.threads if state is not None else 1
        if self.upcalls.loaded or threads > 1:
            raise HypercallError(
                "becoming a daemon",
                "a kernel has been booted here"
                if self.upcalls.loaded
                else f"this process has {threads} threads",
                "call rump_daemonize_begin first, before anything makes threads",
            )
        try:
            parent, child = socket.socketpair()
        except OSError as error:
            return from_oserror(error)
        flush_all()  # or what is in the buffers comes out twice
        # No handler may raise in the parent before it is in `_wait`.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            process = os.fork()
            if process:
                child.close()
                _wait(parent, mask)
        except OSError as error:
            child.close()
            return from_oserror(error)
        finally:
            parent.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._parent, self._begun = child, True
        os.setsid()  # the child of a fork leads no group: this cannot fail
        return 0

    def daemonize_done(self, error: int) -> int:
        """Tell the parent; without an error leave the terminal first."""
        if not self._begun:
            return Errno.ENOENT
        if error == 0:
            flush_all()
            try:
                _detach()
            except OSError as problem:
                error = problem.errno or int(Errno.EIO)
        told, self._parent = self._parent, None
        if told is None:
            return Errno.EPIPE
        with told:
            try:
                told.sendall(OUTCOME.pack(error), socket.MSG_NOSIGNAL)
            except OSError:
                return Errno.EPIPE
        return 0


def _wait(child: socket.socket, mask: Iterable[int]) -> NoReturn:
    """End this process as the child says; what it had to clean up is the child's."""
    status = int(Errno.ESRCH)
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        told = child.recv(OUTCOME.size, socket.MSG_WAITALL)
        if len(told) == OUTCOME.size:
            (status,) = OUTCOME.unpack(told)
    finally:
        os._exit(status & 0xFF)


def _detach() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in STANDARD:
        os.dup2(null, fd)
    if null not in STANDARD:
        os.close(null)
