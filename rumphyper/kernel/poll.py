"""Waiting for kernel descriptors: pollts(2), poll objects, select.

NetBSD sys/sys/poll.h gives the events; those of the host's `select` module are
used above. Waits are cut into slices (see transport.py), so Ctrl-C and the end
of the kernel are noticed. The kernel's clock ticks at 100 Hz: waits are that
coarse.
"""

from __future__ import annotations

import ctypes
import select as host_select
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.constants import failure
from rumphyper.kernel.transport import SLICE, Calls


class HasFileno(Protocol):
    """A socket, a file: whatever knows its descriptor."""

    def fileno(self) -> int: ...


Descriptor = int | HasFileno

POLLIN = 0x0001
POLLPRI = 0x0002
POLLOUT = 0x0004
POLLERR = 0x0008
POLLHUP = 0x0010
POLLNVAL = 0x0020

_EVENTS = {
    "POLLIN": POLLIN,
    "POLLPRI": POLLPRI,
    "POLLOUT": POLLOUT,
    "POLLERR": POLLERR,
    "POLLHUP": POLLHUP,
    "POLLNVAL": POLLNVAL,
    "POLLRDNORM": 0x0040,
    "POLLRDBAND": 0x0080,
    "POLLWRBAND": 0x0100,
}
_TO_NETBSD = {
    int(getattr(host_select, name)): number
    for name, number in _EVENTS.items()
    if hasattr(host_select, name)
}
_WRNORM = int(getattr(host_select, "POLLWRNORM", 0))  # NetBSD: the same as POLLOUT


class PollFd(ctypes.Structure):
    """struct pollfd (sys/sys/poll.h)."""

    _fields_ = [
        ("fd", ctypes.c_int),
        ("events", ctypes.c_short),
        ("revents", ctypes.c_short),
    ]


class Timespec(ctypes.Structure):
    """struct timespec with NetBSD's 64-bit time_t (sys/sys/time.h)."""

    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_long)]


def events_to_netbsd(events: int) -> int:
    """NetBSD's POLL* for the host's; unknown bits are dropped, as poll does."""
    number = POLLOUT if events & _WRNORM else 0
    for host, netbsd in _TO_NETBSD.items():
        if events & host:
            number |= netbsd
    return number


def events_to_host(events: int) -> int:
    """The host's POLL* for NetBSD's."""
    number = 0
    for host, netbsd in _TO_NETBSD.items():
        if events & netbsd:
            number |= host
    return number


def deadline_of(timeout: float | None) -> float | None:
    """The moment on time.monotonic at which ``timeout`` seconds are over."""
    return None if timeout is None else time.monotonic() + max(timeout, 0.0)


def poll_once(calls: Calls, fds: Any, count: int, seconds: float) -> int:
    """One pollts of at most ``seconds``; 0 when a signal cut it short."""
    span = Timespec(int(seconds), int(seconds % 1 * 1e9))
    ready = calls.pollts(fds, count, ctypes.byref(span), None)
    if ready < 0:
        if ready == -Errno.EINTR:
            return 0
        raise failure(-ready)
    return ready


def poll_until(calls: Calls, fds: Any, count: int, deadline: float | None) -> int:
    """Wait until a descriptor of the array is ready; 0 when ``deadline`` is over."""
    while True:
        left = SLICE if deadline is None else deadline - time.monotonic()
        ready = poll_once(calls, fds, count, min(max(left, 0.0), SLICE))
        if ready or (deadline is not None and left <= SLICE):
            return ready


def wait(calls: Calls, fd: int, events: int, deadline: float | None) -> int:
    """Wait for one descriptor; NetBSD's revents, 0 when ``deadline`` is over."""
    fds = (PollFd * 1)(PollFd(fd, events, 0))
    if poll_until(calls, fds, 1, deadline):
        return int(fds[0].revents)
    return 0


def descriptor(thing: Descriptor) -> int:
    """The descriptor of a socket, a file or an int; as select does."""
    fd = thing if isinstance(thing, int) else thing.fileno()
    if not isinstance(fd, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return fd


class Poll:
    """As select.poll, over descriptors of the rump kernel."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._events: dict[int, int] = {}

    def register(
        self,
        fd: Descriptor,
        eventmask: int = host_select.POLLIN | host_select.POLLPRI | host_select.POLLOUT,
    ) -> None:
        """Watch a descriptor (again, with other events)."""
        self._events[descriptor(fd)] = eventmask

    def modify(self, fd: Descriptor, eventmask: int) -> None:
        """Change the events of a registered one; FileNotFoundError if it is not."""
        number = descriptor(fd)
        if number not in self._events:
            raise FileNotFoundError(2, "No such file or directory")
        self._events[number] = eventmask

    def unregister(self, fd: Descriptor) -> None:
        """Forget a descriptor; KeyError when it was not registered."""
        del self._events[descriptor(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Pairs of descriptor and events; ``timeout`` is in milliseconds."""
        items = list(self._events.items())
        fds = (PollFd * max(len(items), 1))(
            *(PollFd(fd, events_to_netbsd(events), 0) for fd, events in items)
        )
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        poll_until(self._calls, fds, len(items), deadline_of(seconds))
        return [
            (int(one.fd), events_to_host(one.revents))
            for one in fds[: len(items)]
            if one.revents
        ]


def select(
    calls: Calls,
    rlist: Iterable[Descriptor],
    wlist: Iterable[Descriptor],
    xlist: Iterable[Descriptor],
    timeout: float | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """As select.select, over sockets and descriptors of the rump kernel."""
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    wanted: Sequence[tuple[list[Descriptor], int, int]] = (
        (list(rlist), POLLIN, POLLIN | POLLERR | POLLHUP),
        (list(wlist), POLLOUT, POLLOUT | POLLERR | POLLHUP),
        (list(xlist), POLLPRI, POLLPRI),
    )
    events: dict[int, int] = {}
    for things, event, _ in wanted:
        for thing in things:
            fd = descriptor(thing)
            events[fd] = events.get(fd, 0) | event
    fds = (PollFd * max(len(events), 1))(
        *(PollFd(fd, e, 0) for fd, e in events.items())
    )
    poll_until(calls, fds, len(events), deadline_of(timeout))
    found = {int(one.fd): int(one.revents) for one in fds[: len(events)]}
    if any(revents & POLLNVAL for revents in found.values()):
        raise failure(Errno.EBADF)
    answers = [
        [thing for thing in things if found[descriptor(thing)] & mask]
        for things, _, mask in wanted
    ]
    return answers[0], answers[1], answers[2]
