"""Locks one by one: results, owners, the order of upcalls, misuse."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from ctypes import byref, c_int, c_void_p
from functools import partial
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.locks import Locks
from tests.hypercalls.support import Kernel, Setup

SPIN, KMUTEX = 1, 2
READER, WRITER = 0, 1
AWAY = ["hyp_backend_unschedule", "hyp_backend_schedule"]
LWP = 0x1000


of_python = pytest.mark.parametrize("locking", ["python"], indirect=True)
"""For what libc does in another way, or would crash over."""


@pytest.fixture
def setup(locking: Setup) -> Setup:
    """Python's locks and libc's."""
    return locking


@pytest.fixture
def lwp(setup: Setup) -> int:
    """An lwp for the testing thread."""
    setup.call("curlwpop", 2, LWP)
    return LWP


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


MISUSE: dict[str, tuple[Callable[[Setup, int, int, int], Any], str]] = {
    "mutex of ours released twice": (
        lambda s, m, r, c: s.call("mutex_exit", m),
        "released by who does not hold it",
    ),
    "own mutex entered": (
        lambda s, m, r, c: [s.call("mutex_enter", m), s.call("mutex_enter", m)],
        "holds it already",
    ),
    "held mutex destroyed": (
        lambda s, m, r, c: [s.call("mutex_enter", m), s.call("mutex_destroy", m)],
        "destroyed while it is held",
    ),
    "mutex destroyed twice": (
        lambda s, m, r, c: [s.call("mutex_destroy", m), s.call("mutex_destroy", m)],
        "not one of ours, or destroyed",
    ),
    "rwlock destroyed twice": (
        lambda s, m, r, c: [s.call("rw_destroy", r), s.call("rw_destroy", r)],
        "not one of ours, or destroyed",
    ),
    "condvar destroyed twice": (
        lambda s, m, r, c: [s.call("cv_destroy", c), s.call("cv_destroy", c)],
        "not one of ours, or destroyed",
    ),
    "mutex without kind": (
        lambda s, m, r, c: s.call("mutex_init", byref(c_void_p()), 0),
        "neither SPIN nor KMUTEX",
    ),
    "owner of a spin mutex": (
        lambda s, m, r, c: owner(s, s.made("mutex_init", SPIN)),
        "made without KMUTEX",
    ),
    "invented mutex": (lambda s, m, r, c: s.call("mutex_enter", 51), "mutex 0x33"),
    "null mutex": (lambda s, m, r, c: s.call("mutex_exit", None), "mutex 0x0"),
    "rwlock as mutex": (lambda s, m, r, c: s.call("mutex_enter", r), "not one of ours"),
    "mutex as condvar": (lambda s, m, r, c: s.call("cv_signal", m), "not one of ours"),
    "wait without holding": (
        lambda s, m, r, c: s.call("cv_timedwait", c, m, 0, 0),
        "a wait with a mutex that nobody holds",
    ),
    "wait on nothing": (lambda s, m, r, c: s.call("cv_wait", 16, m), "0x10: not one"),
    "rwlock released twice": (
        lambda s, m, r, c: s.call("rw_exit", r),
        "released by who does not hold it",
    ),
    "own rwlock entered": (
        lambda s, m, r, c: [s.call("rw_enter", WRITER, r), s.call("rw_enter", 0, r)],
        "is its writer already",
    ),
    "downgrade by nobody": (
        lambda s, m, r, c: s.call("rw_downgrade", r),
        "released by who does not hold it",
    ),
    "held rwlock destroyed": (
        lambda s, m, r, c: [s.call("rw_enter", READER, r), s.call("rw_destroy", r)],
        "destroyed while it is held",
    ),
    "kind of rwlock": (lambda s, m, r, c: s.call("rw_enter", 3, r), "neither READER"),
}  # fmt: skip


@of_python
@pytest.mark.parametrize("what", MISUSE)
def test_misuse_is_reported(setup: Setup, lwp: int, what: str) -> None:
    """A kernel's mistake is one line on the error output, no crash and no hang."""
    mtx, rw = setup.made("mutex_init", KMUTEX), setup.made("rw_init")
    cv = setup.made("cv_init")
    misuse, text = MISUSE[what]
    misuse(setup, mtx, rw, cv)
    assert len(setup.reports) == 1
    assert text in setup.reports[0]
    assert "Traceback" not in setup.reports[0]


@of_python
def test_destroyed_handles_stay_unknown(setup: Setup, lwp: int) -> None:
    """A handle is not used again; what is destroyed cannot be used or destroyed."""
    first = setup.made("mutex_init", KMUTEX)
    setup.call("mutex_destroy", first)
    assert setup.made("mutex_init", KMUTEX) != first
    assert setup.call("mutex_tryenter", first) == Errno.EINVAL
    setup.call("mutex_destroy", first)
    assert len(setup.reports) == 2


def test_destroy_with_waiter(setup: Setup, lwp: int) -> None:
    """A condition variable that somebody waits for is not freed."""
    mtx, cv = setup.made("mutex_init", KMUTEX), setup.made("cv_init")
    other = Other(
        setup,
        lambda: setup.call("mutex_enter", mtx),
        lambda: setup.call("cv_wait", cv, mtx),
        lambda: setup.call("mutex_exit", mtx),
    )
    asleep(setup, cv, mtx, 1)
    setup.call("cv_destroy", cv)
    assert "while somebody waits" in setup.reports[0]
    setup.call("cv_signal", cv)
    other.join()
    setup.call("cv_destroy", cv)
    assert len(setup.reports) == 1
