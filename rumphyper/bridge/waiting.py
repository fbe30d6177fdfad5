"""Waiting for frames on several links at once: asleep, awake, or as it pays."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable

from rumphyper.bridge.settings import Waiting
from rumphyper.link.waiter import Stopper

MOST_LOOKS = 64
"""Looks without a frame before sleeping, at most: some 100 microseconds."""

SHORT = 50e-6
"""A sleep of fewer seconds was not worth it: going and waking cost as much."""

MOST_EVENTS = 64


class Watch:
    """The ports that may be read, by their descriptors, and how to wait for them.

    ``adaptive`` looks a few times before it sleeps: more often after short
    sleeps, less after long ones.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._epoll = select.epoll()
        self._fds: dict[int, int] = {}
        self._looks = 1
        self._idle = 0

    def set(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Watch exactly these descriptors; each goes with a port's number."""
        fds = dict(wanted)
        for fd in [fd for fd in self._fds if fds.get(fd) != self._fds[fd]]:
            del self._fds[fd]
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass  # closed already: the kernel has forgotten it
        for fd, number in fds.items():
            if fd not in self._fds:
                self._epoll.register(fd, select.EPOLLIN)
                self._fds[fd] = number

    def ready(self) -> list[int]:
        """The numbers of the ports that have something, without waiting."""
        fds = self._fds
        return [fds[fd] for fd, _ in self._epoll.poll(0, MOST_EVENTS) if fd in fds]

    def wait(self, stop: Stopper, found: bool, timeout: float) -> bool:
        """Wait until some port has something, at most ``timeout`` seconds.

        ``found`` says whether there was anything since the last call. False
        when the loop shall stop.
        """
        if found:
            self._idle = 0
            return not stop.wanted
        self._idle += 1
        if self._waiting == "busy":
            return not stop.wanted
        if self._waiting == "adaptive" and self._idle < self._looks:
            return not stop.wanted
        begin = time.monotonic()
        go_on = stop.wait(self._epoll.fileno(), timeout)
        slept = time.monotonic() - begin
        if slept < SHORT:
            self._looks = min(2 * self._looks, MOST_LOOKS)
        else:
            self._looks = max(self._looks // 2, 1)
        return go_on

    def close(self) -> None:
        """Close the descriptor; the ports' own stay as they are. Idempotent."""
        self._epoll.close()
