"""pollts(2) without sleeping in it: no thread of ours sleeps in poll or select.

One that is woken there, by the end of its time or by an event of two threads at
once, is still taken for asleep until it runs; the next event then ends the
kernel (NetBSD sys/kern/sys_select.c, selnotify, over the sleep queues of
sys/rump/librump/rumpkern/sleepq.c). With more than one virtual CPU every wait
is a chance for that. A kqueue(2) sleeps on a condition variable instead: so
pollts is asked what is ready, and a kqueue that lives as long as one wait wakes
us when it should be asked again.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from typing import Any

from rumphyper.kernel.poll import POLLIN, POLLOUT, Timespec
from rumphyper.kernel.transport import Call

EVFILT_READ, EVFILT_WRITE = 0, 1
EV_ADD = 0x0001
BILLION = 10**9

TICK = 0.01
"""Seconds between looks at events that no kqueue tells of: a tick of NetBSD's."""

PAUSE = 0.002
"""Seconds to wait where a kqueue tells of what poll does not see."""

_FILTERS = ((POLLIN | 0x0040, EVFILT_READ), (POLLOUT, EVFILT_WRITE))
_TOLD = POLLIN | 0x0040 | POLLOUT
"""Events that a kqueue tells of; 0x40 is POLLRDNORM. POLLPRI is none."""


class Kevent(ctypes.Structure):
    """struct kevent (sys/sys/event.h)."""

    _fields_ = [
        ("ident", ctypes.c_size_t),
        ("filter", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("fflags", ctypes.c_uint32),
        ("data", ctypes.c_int64),
        ("udata", ctypes.c_ssize_t),
    ]


class SafePoll:
    """Takes the place of pollts: the same arguments and results.

    ``bind`` gives the system calls themselves.
    """

    def __init__(self, bind: Callable[[str], Call]) -> None:
        self._pollts = bind("pollts")
        self._kqueue = bind("kqueue1")
        self._kevent = bind("kevent50")
        self._close = bind("close")

    def __call__(self, fds: Any, count: int, span: Any, mask: None) -> int:
        """``fds`` is an array of `PollFd`, ``span`` a byref of `Timespec`."""
        limit = span._obj
        seconds = limit.seconds + limit.nanoseconds / BILLION
        end = time.monotonic() + seconds if seconds else 0.0
        limit.seconds = limit.nanoseconds = 0
        told = 0
        while True:
            ready = self._pollts(fds, count, span, mask)
            left = end - time.monotonic() if end else 0.0
            if ready or left <= 0:
                return ready
            if told:
                time.sleep(min(left, PAUSE))
            told = self._sleep(list(fds[:count]), left)

    def _sleep(self, fds: list[Any], seconds: float) -> int:
        """Sleep ``seconds`` at most; non-zero when it is worth to look earlier."""
        if any(one.events & ~_TOLD or not one.events for one in fds):
            seconds = min(seconds, TICK)
        queue = self._kqueue(0)
        if queue < 0:  # no descriptor left
            time.sleep(min(seconds, TICK))
            return 0
        events = list(_changes(fds))
        array = (Kevent * max(len(events), 1))(*events)
        span = Timespec(int(seconds), int(seconds % 1 * BILLION))
        try:
            return self._kevent(
                queue, array, len(events), array, len(array), ctypes.byref(span)
            )
        finally:
            self._close(queue)


def _changes(fds: list[Any]) -> Iterator[Kevent]:
    """What a kqueue has to watch for poll's ``fds``; negative ones do not count."""
    for one in fds:
        for events, number in _FILTERS:
            if one.events & events and one.fd >= 0:
                yield Kevent(one.fd, number, EV_ADD)
