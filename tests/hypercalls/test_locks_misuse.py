"""Locks that are unknown, destroyed, or not the caller's."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.locks import (
    KMUTEX,
    LWP,
    READER,
    SPIN,
    WRITER,
    Other,
    asleep,
    of_python,
    owner,
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
