"""Condition variables, side by side."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from ctypes import byref, c_int, c_void_p
from pathlib import Path
from typing import Any

import pytest

from tests.hypercalls.stock.sides import Second, Side, both, differ_alone
from tests.judges import tool

pytestmark = pytest.mark.rump


@pytest.mark.parametrize("flags", [1, 2, 3])
def test_condvars(sides: tuple[Side, Side], lwp: int, flags: int) -> None:
    """Results, waiters, and what the kernel finds in its upcalls."""

    def work(side: Side) -> Any:
        mtx, cv = side.made("mutex_init", flags), side.made("cv_init")
        answer, tried = c_int(-1), []

        def look(*values: int) -> None:
            result = side.call("mutex_tryenter", mtx)
            tried.append(result)
            if result == 0:
                side.call("mutex_exit", mtx)

        side.kernel.on["hyp_backend_schedule"] = look
        side.kernel.on["hyp_backend_unschedule"] = look
        enter = "mutex_enter_nowrap" if flags & 1 else "mutex_enter"
        side.call(enter, mtx)
        out: list[Any] = [side.call("cv_timedwait", cv, mtx, 0, 5_000_000)]
        out.append(side.call("cv_timedwait", cv, mtx, -1, 0))

        def wake() -> None:
            side.call("curlwpop", 2, 0x2000)
            side.call(enter, mtx)
            side.call("cv_has_waiters", cv, byref(answer))
            out.append(answer.value)
            side.call("mutex_exit", mtx)
            side.call("cv_signal", cv)
            side.call("curlwpop", 3, 0x2000)

        thread = threading.Thread(target=wake)
        if flags & 1:
            side.kernel.on.clear()
            thread.start()
            side.call("cv_wait_nowrap", cv, mtx)
            thread.join()
        side.call("cv_has_waiters", cv, byref(answer))
        out.append(answer.value)
        side.call("mutex_exit", mtx)
        side.call("cv_destroy", cv)
        side.call("mutex_destroy", mtx)
        side.kernel.on.clear()
        return out, tried

    both(sides, work)


@pytest.mark.parametrize("flags", [2, 3])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("wake", ["cv_signal", "cv_broadcast"])
def test_waking(
    sides: tuple[Side, Side], lwp: int, flags: int, timed: bool, wake: str
) -> None:
    """One signal or one broadcast for two waiters; who is woken in time says 0."""

    def work(side: Side) -> Any:
        mtx, cv = side.made("mutex_init", flags), side.made("cv_init")
        count, owner = c_int(), c_void_p()

        def wait() -> object:
            if timed:
                return side.call("cv_timedwait", cv, mtx, 20, 0)
            return side.call("cv_wait", cv, mtx)

        def owned() -> object:
            side.call("mutex_owner", mtx, byref(owner))
            return owner.value

        steps = [lambda: side.call("mutex_enter", mtx), wait, owned]
        leave = [lambda: side.call("mutex_exit", mtx)]
        waiters = []
        for number in (1, 2):
            waiters.append(Second(side, *steps, *leave))
            waiters[-1].until_away(number)
        side.call("mutex_enter", mtx)
        side.call("cv_has_waiters", cv, byref(count))
        found: list[Any] = [count.value]
        side.call(wake, cv)
        side.call("mutex_exit", mtx)
        if wake == "cv_signal":
            side.call(wake, cv)
        found += [waiter.join() for waiter in waiters]
        side.call("cv_has_waiters", cv, byref(count))
        found.append(count.value)
        side.call("cv_destroy", cv)
        side.call("mutex_destroy", mtx)
        counts = Counter(name for name, *_ in side.kernel.events)
        side.kernel.events.clear()  # the order of two threads is not fixed
        return found, counts

    result = 0 if timed else None
    waited = [None, result, 0x2000, None]
    assert both(sides, work)[0] == [2, waited, waited, 0]


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec -= 3600;
    return result;
}
"""
WAIT = """
mtx, cv = side.made("mutex_init", 2), side.made("cv_init")
call("curlwpop", 2, 0x1000)
call("mutex_enter", mtx)
start = time.monotonic()
print(call("cv_timedwait", cv, mtx, 0, 300_000_000), time.monotonic() - start > 0.25)
"""


def test_the_clock_of_timed_waits(tmp_path: Path) -> None:
    """Where the wall clock is an hour slow while the deadline is worked out."""
    (tmp_path / "clock.c").write_text(CLOCK)
    shim = tmp_path / "clock.so"
    subprocess.run(
        [tool("gcc"), "-shared", "-fPIC", "-o", shim, tmp_path / "clock.c"],
        check=True,
        timeout=60,
    )
    stock, ours = differ_alone("rumpuser_cv_timedwait", WAIT, str(shim))
    assert stock == (0, "60 False\n", "")
    assert ours == (0, "60 True\n", "")
