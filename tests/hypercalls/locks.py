"""What the tests of locks share: another thread of the kernel, and what it sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ctypes import byref, c_int, c_void_p

import pytest

from tests.hypercalls.support import Setup

SPIN, KMUTEX = 1, 2
READER, WRITER = 0, 1
AWAY = ["hyp_backend_unschedule", "hyp_backend_schedule"]
LWP = 0x1000


of_python = pytest.mark.parametrize("locking", ["python"], indirect=True)
"""For what libc does in another way, or would crash over."""


class Other:
    """A second thread with an lwp of its own that does what it is told."""

    def __init__(self, setup: Setup, *work: Callable[[], object]) -> None:
        self.results: list[object] = []

        def run() -> None:
            setup.call("curlwpop", 2, 0x2000)
            for step in work:
                self.results.append(step())
            setup.call("curlwpop", 3, 0x2000)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def join(self) -> list[object]:
        """Wait for its end; fails when that does not come."""
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.results


def owner(setup: Setup, mtx: int) -> int | None:
    """The owner of a mutex."""
    lwp = c_void_p(1)
    setup.call("mutex_owner", mtx, byref(lwp))
    return lwp.value


def held(setup: Setup, kind: int, rw: int) -> int:
    """What rw_held says."""
    answer = c_int(-1)
    setup.call("rw_held", kind, rw, byref(answer))
    return answer.value


def waiters(setup: Setup, cv: int) -> int:
    """What cv_has_waiters says."""
    answer = c_int(-1)
    setup.call("cv_has_waiters", cv, byref(answer))
    return answer.value


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def asleep(setup: Setup, cv: int, mtx: int, number: int) -> None:
    """Wait until so many threads sleep: they count a moment before they do.

    Who gets the mutex behind the count knows that its holder has let go of it.
    """
    until(lambda: waiters(setup, cv) == number)
    setup.call("mutex_enter", mtx)
    setup.call("mutex_exit", mtx)


def _is(number: int, found: Callable[[], int]) -> bool:
    return found() == number
