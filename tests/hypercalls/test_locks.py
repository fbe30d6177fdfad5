"""Locks one by one: results, owners, the order of upcalls, misuse."""

from __future__ import annotations

import time
from functools import partial

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.locks import (
    AWAY,
    KMUTEX,
    LWP,
    READER,
    SPIN,
    WRITER,
    Other,
    held,
    of_python,
    owner,
    until,
    waiters,
)
from tests.hypercalls.support import Kernel, Setup


@pytest.fixture
def setup(locking: Setup) -> Setup:
    """Python's locks and libc's."""
    return locking


@pytest.fixture
def lwp(setup: Setup) -> int:
    """An lwp for the testing thread."""
    setup.call("curlwpop", 2, LWP)
    return LWP


def test_mutex_owner(setup: Setup, lwp: int) -> None:
    """Whoever holds it owns it, by whichever call it was taken."""
    for flags in (KMUTEX, SPIN | KMUTEX):
        mtx = setup.made("mutex_init", flags)
        assert owner(setup, mtx) is None
        setup.call("mutex_enter", mtx)
        assert owner(setup, mtx) == lwp
        assert setup.call("mutex_tryenter", mtx) == Errno.EBUSY
        setup.call("mutex_exit", mtx)
        assert owner(setup, mtx) is None
        assert setup.call("mutex_tryenter", mtx) == 0
        assert owner(setup, mtx) == lwp
        other = Other(setup, partial(setup.call, "mutex_tryenter", mtx))
        assert other.join() == [Errno.EBUSY]
        setup.call("mutex_exit", mtx)
        setup.call("mutex_destroy", mtx)
    assert setup.reports == []
    assert setup.kernel.events == []  # nobody had to wait


@pytest.mark.parametrize(
    ("flags", "call", "away"),
    [
        (KMUTEX, "mutex_enter", AWAY),
        (SPIN | KMUTEX, "mutex_enter", []),
        (SPIN, "mutex_enter_nowrap", []),
    ],
)
def test_waiting_for_a_mutex(
    setup: Setup, lwp: int, flags: int, call: str, away: list[str]
) -> None:
    """Only a mutex that does not spin lets go of the virtual CPU."""
    mtx = setup.made("mutex_init", flags)
    setup.call("mutex_enter", mtx)
    other = Other(
        setup,
        lambda: setup.call(call, mtx),
        lambda: flags & KMUTEX and owner(setup, mtx),
        lambda: setup.call("mutex_exit", mtx),
    )
    if away:
        until(lambda: setup.kernel.names() == AWAY[:1])
        assert setup.kernel.events[0][2] == (0, None)
    else:
        time.sleep(0.02)
    setup.call("mutex_exit", mtx)
    assert other.join() == [None, 0x2000 if flags & KMUTEX else 0, None]
    assert setup.kernel.names() == away
    assert setup.reports == []


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("flags", [SPIN, KMUTEX, SPIN | KMUTEX])
def test_order_after_waiting(setup: Setup, lwp: int, flags: int, timed: bool) -> None:
    """rumpuser(3): SPIN with KMUTEX gets the CPU first, pure SPIN the mutex first.

    What the kernel finds inside backend_schedule tells which it was.
    """
    kernel = setup.kernel
    mtx, cv = setup.made("mutex_init", flags), setup.made("cv_init")
    tried: list[int] = []

    def scheduled(locks: int, interlock: int) -> None:
        result = setup.call("mutex_tryenter", mtx)
        tried.append(result)
        if result == 0:
            setup.call("mutex_exit", mtx)

    def unscheduled(keep: int, interlock: int) -> None:
        tried.append(setup.call("mutex_tryenter", mtx))

    kernel.on["hyp_backend_schedule"] = scheduled
    kernel.on["hyp_backend_unschedule"] = unscheduled
    setup.call("mutex_enter_nowrap" if flags & SPIN else "mutex_enter", mtx)
    if timed:
        assert setup.call("cv_timedwait", cv, mtx, 0, 10_000_000) == Errno.ETIMEDOUT
    else:
        enter = "mutex_enter_nowrap" if flags & SPIN else "mutex_tryenter"
        waker = Other(
            setup,
            lambda: until(lambda: waiters(setup, cv)),
            lambda: until(lambda: not setup.call(enter, mtx)),  # it sleeps now
            lambda: setup.call("mutex_exit", mtx),
            lambda: setup.call("cv_signal", cv),
        )
        setup.call("cv_wait", cv, mtx)
        waker.join()
    # Inside unschedule the mutex is still held; inside schedule it is as said.
    free_inside = flags == SPIN | KMUTEX
    assert tried == [Errno.EBUSY, 0 if free_inside else Errno.EBUSY]
    assert [(name, values[1]) for name, _, values in kernel.events] == [
        ("hyp_backend_unschedule", mtx),
        ("hyp_backend_schedule", mtx),
    ]
    assert kernel.events[1][2][0] == Kernel.locks
    if flags & KMUTEX:
        assert owner(setup, mtx) == lwp
    setup.call("mutex_exit", mtx)
    assert setup.reports == []


@of_python
def test_wait_nowrap(setup: Setup, lwp: int) -> None:
    """It releases the mutex and keeps the CPU."""
    mtx, cv = setup.made("mutex_init", SPIN), setup.made("cv_init")
    setup.call("mutex_enter_nowrap", mtx)
    other = Other(
        setup,
        lambda: setup.call("mutex_enter_nowrap", mtx),
        lambda: waiters(setup, cv),
        lambda: setup.call("cv_signal", cv),
        lambda: setup.call("mutex_exit", mtx),
    )
    setup.call("cv_wait_nowrap", cv, mtx)
    setup.call("mutex_exit", mtx)
    assert other.join() == [None, 1, None, None]
    assert waiters(setup, cv) == 0
    assert setup.kernel.events == []


def test_rwlock_states(setup: Setup, lwp: int) -> None:
    """Many readers or one writer; upgrade only for a single reader."""
    rw = setup.made("rw_init")
    assert (held(setup, READER, rw), held(setup, WRITER, rw)) == (0, 0)
    setup.call("rw_enter", READER, rw)
    assert setup.call("rw_tryenter", READER, rw) == 0
    assert (held(setup, READER, rw), held(setup, WRITER, rw)) == (2, 0)
    assert setup.call("rw_tryenter", WRITER, rw) == Errno.EBUSY
    assert setup.call("rw_tryupgrade", rw) == Errno.EBUSY
    setup.call("rw_exit", rw)
    assert setup.call("rw_tryupgrade", rw) == 0
    assert (held(setup, READER, rw), held(setup, WRITER, rw)) == (0, 1)
    tries = Other(
        setup,
        lambda: setup.call("rw_tryenter", READER, rw),
        lambda: setup.call("rw_tryenter", WRITER, rw),
        lambda: held(setup, WRITER, rw),
    )
    assert tries.join() == [Errno.EBUSY, Errno.EBUSY, 0]
    setup.call("rw_downgrade", rw)
    assert (held(setup, READER, rw), held(setup, WRITER, rw)) == (1, 0)
    setup.call("rw_exit", rw)
    assert setup.call("rw_tryenter", 7, rw) == Errno.EINVAL
    setup.call("rw_destroy", rw)
    assert setup.reports == []
    assert setup.kernel.events == []


def test_rwlock_waits_and_hands_over(setup: Setup, lwp: int) -> None:
    """A waiting writer gets it from the last reader; readers pass it meanwhile."""
    rw = setup.made("rw_init")
    setup.call("rw_enter", READER, rw)
    writer = Other(
        setup,
        lambda: setup.call("rw_enter", WRITER, rw),
        lambda: held(setup, WRITER, rw),
        lambda: setup.call("rw_downgrade", rw),
        lambda: setup.call("rw_exit", rw),
    )
    until(lambda: setup.kernel.names() == AWAY[:1])
    assert setup.call("rw_tryenter", READER, rw) == 0  # recursion must not hang
    setup.call("rw_exit", rw)
    setup.call("rw_exit", rw)
    assert writer.join()[1] == 1
    assert setup.kernel.names() == AWAY
    assert setup.call("rw_tryenter", WRITER, rw) == 0
    assert setup.reports == []
