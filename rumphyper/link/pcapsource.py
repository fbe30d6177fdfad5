"""Where the octets of a capture come from: a file, a pipe, a growing file."""

from __future__ import annotations

import contextlib
import os
import select
import stat
from typing import TYPE_CHECKING

from rumphyper.errors import CorruptError
from rumphyper.link.pcapdecode import host_error, open_read
from rumphyper.link.waiter import Waiter

if TYPE_CHECKING:
    from rumphyper.host.inotify import ModifyWatch

CHUNK = 256 * 1024
RECHECK = 1.0
"""Seconds after which a followed file is looked at again without an event:
inotify does not see what other hosts write on a network file system."""


class PcapSource:
    """Octets of one file, read without ever blocking in read(2).

    Its `fileno` is an epoll descriptor: readable when the file has more, or
    while `ready` said that the reader has frames at hand.
    """

    def __init__(self, name: str, follow: bool) -> None:
        self.name = name
        self._offset = 0
        self._raised = False
        self._watch: ModifyWatch | None = None
        with contextlib.ExitStack() as opened:
            self._fd = open_read(name)
            opened.callback(os.close, self._fd)
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.callback(os.close, self._event)
            self._epoll = opened.enter_context(select.epoll())
            self._epoll.register(self._event, select.EPOLLIN)
            self._waiter = opened.enter_context(
                contextlib.closing(Waiter(self._epoll.fileno()))
            )
            self.regular = self._register(follow, opened)
            self._opened = opened.pop_all()

    def _register(self, follow: bool, opened: contextlib.ExitStack) -> bool:
        """Have epoll watch the file; false for a pipe and its like."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            if follow:
                # loads ctypes, which nothing else here needs
                from rumphyper.host.inotify import ModifyWatch

                watch = ModifyWatch.of_descriptor(self._fd, self.name)
                self._watch = opened.enter_context(contextlib.closing(watch))
                self._epoll.register(self._watch.fd, select.EPOLLIN)
            return True
        try:
            self._epoll.register(self._fd, select.EPOLLIN)
        except PermissionError:  # a device that never waits, such as /dev/null
            return True
        return False

    @property
    def follow(self) -> bool:
        """Whether the file's end is only the end so far."""
        return self._watch is not None

    def read(self) -> bytes | None:
        """Return more octets, none (``b""``) at the end, None when none are there yet.

        Raises HostError, and CorruptError when a followed file has shrunk.
        """
        if self._watch is not None:
            self._watch.drain()  # before reading: what comes later is told again
        elif not self.regular and not self._has_more():
            return None
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise host_error(self.name, "read", error) from error
        self._offset += len(data)
        if data or self._watch is None:
            return data
        status = os.fstat(self._fd)
        if status.st_size < self._offset:
            raise CorruptError(
                self.name,
                f"its size is {status.st_size}, it was read up to {self._offset}",
                "somebody has cut the file; open it again",
            )
        return None if status.st_nlink else b""  # removed: nobody will write more

    def _has_more(self) -> bool:
        """Whether read(2) on a pipe returns at once, be it with its end."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def wait(self, timeout: float | None) -> None:
        """Wait at most ``timeout`` seconds for more octets, or for `wake`."""
        if self._watch is not None:
            timeout = RECHECK if timeout is None else min(timeout, RECHECK)
        self._waiter.wait(timeout)

    def ready(self, value: bool) -> None:
        """Have `fileno` be readable, whatever the file does, or leave it to that."""
        if value != self._raised:
            self._raised = value
            if value:
                os.eventfd_write(self._event, 1)
            else:
                os.eventfd_read(self._event)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._epoll.fileno()

    def wake(self) -> None:
        """End every wait, now and from now on."""
        self._waiter.wake()

    def close(self) -> None:
        """Close all descriptors; nobody may wait any more."""
        self._opened.close()
