"""Condition variables one by one: who wakes, when, and with which locks."""

from __future__ import annotations

import threading
import time
from collections import deque
from functools import partial
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.locks import Locks
from tests.hypercalls.locks import (
    KMUTEX,
    LWP,
    SPIN,
    Other,
    _is,
    asleep,
    of_python,
    until,
)
from tests.hypercalls.support import Setup


@pytest.fixture
def setup(locking: Setup) -> Setup:
    """Python's locks and libc's."""
    return locking


@pytest.fixture
def lwp(setup: Setup) -> int:
    """An lwp for the testing thread."""
    setup.call("curlwpop", 2, LWP)
    return LWP


def test_interlock_taken_by_the_kernel(setup: Setup, lwp: int) -> None:
    """The scheduler's own lock is taken in unschedule and released in schedule.

    So does NetBSD's rump_schedlock_cv_wait: it waits with a mutex that it does
    not hold yet.
    """
    mtx, cv = setup.made("mutex_init", SPIN), setup.made("cv_init")
    kernel = setup.kernel
    kernel.on["hyp_backend_unschedule"] = lambda keep, interlock: setup.call(
        "mutex_enter_nowrap", interlock
    )
    kernel.on["hyp_backend_schedule"] = lambda locks, interlock: setup.call(
        "mutex_exit", interlock
    )
    assert setup.call("cv_timedwait", cv, mtx, 0, 1_000_000) == Errno.ETIMEDOUT
    assert setup.call("mutex_tryenter", mtx) == 0
    assert setup.reports == []


def test_timedwait_times(setup: Setup, lwp: int) -> None:
    """Relative to the call, at least so long; past ends at once; woken is 0."""
    mtx, cv = setup.made("mutex_init", KMUTEX), setup.made("cv_init")
    setup.call("mutex_enter", mtx)
    for sec, nsec, least in ((0, 20_000_000, 0.02), (0, 0, 0.0), (-5, 0, 0.0)):
        start = time.monotonic()
        assert setup.call("cv_timedwait", cv, mtx, sec, nsec) == Errno.ETIMEDOUT
        assert least <= time.monotonic() - start < least + 1
    other = Other(
        setup,
        lambda: until(lambda: setup.call("mutex_tryenter", mtx) == 0),
        lambda: setup.call("cv_signal", cv),
        lambda: setup.call("mutex_exit", mtx),
    )
    assert setup.call("cv_timedwait", cv, mtx, 1 << 40, 0) == 0
    other.join()
    assert setup.reports == []


class Racing(deque[Any]):
    """A queue of sleepers in which a signal always beats the end of a wait."""

    def remove(self, waiter: Any) -> None:
        assert self.popleft() is waiter
        threading.Timer(0.02, waiter.release).start()
        raise ValueError("taken by a signal")


@of_python
def test_a_signal_in_the_last_moment_counts(setup: Setup, lwp: int) -> None:
    """Who has been chosen by a signal does not report that its time was over."""
    mtx, cv = setup.made("mutex_init", KMUTEX), setup.made("cv_init")
    locks = setup.family("locks")
    assert isinstance(locks, Locks)
    locks._condvars[cv].waiters = Racing()
    setup.call("mutex_enter", mtx)
    start = time.monotonic()
    assert setup.call("cv_timedwait", cv, mtx, 0, 5_000_000) == 0
    assert time.monotonic() - start >= 0.02  # not before the signal's own end
    setup.call("mutex_exit", mtx)
    assert setup.reports == []


@of_python
def test_signal_wakes_one_in_order(setup: Setup, lwp: int) -> None:
    """Signals without waiters are lost; each wakes who waits longest."""
    mtx, cv = setup.made("mutex_init", KMUTEX), setup.made("cv_init")
    setup.call("cv_signal", cv)
    setup.call("cv_broadcast", cv)
    woken: list[int] = []
    threads = []
    for number in range(3):

        def wait(number: int = number) -> None:
            setup.call("curlwpop", 2, 0x3000 + number)
            setup.call("mutex_enter", mtx)
            setup.call("cv_wait", cv, mtx)
            woken.append(number)
            setup.call("mutex_exit", mtx)

        thread = threading.Thread(target=wait)
        thread.start()
        threads.append(thread)
        asleep(setup, cv, mtx, number + 1)
    for number in range(3):
        setup.call("cv_signal", cv)
        until(partial(_is, number + 1, lambda: len(woken)))
        time.sleep(0.005)
        assert woken == list(range(number + 1))
    for thread in threads:
        thread.join(10)
    assert setup.reports == []
