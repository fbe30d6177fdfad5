"""The host's clocks: read, slept on, and not believed without a proof."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from rumphyper.kernel.mini.abi import ABSMONO, RELWALL
from rumphyper.kernel.mini.calls import Calls, check
from rumphyper.kernel.mini.errors import MiniKernelError

SECOND = 1_000_000_000
STEP = 1_000_000
"""Nanoseconds of the naps that prove the clocks."""


def now(calls: Calls, clock: int) -> int:
    """Nanoseconds of the wall clock (RELWALL) or the monotonic one (ABSMONO)."""
    seconds, nanoseconds = ctypes.c_int64(-1), ctypes.c_long(-1)
    errno = calls.clock_gettime(clock, ctypes.byref(seconds), ctypes.byref(nanoseconds))
    check("clock_gettime", errno, f"clock {clock}")
    if seconds.value < 0 or not 0 <= nanoseconds.value < SECOND:
        raise MiniKernelError(
            "rumpuser_clock_gettime",
            f"gave {seconds.value} s and {nanoseconds.value} ns",
        )
    return seconds.value * SECOND + nanoseconds.value


def prove_clocks(calls: Calls, pause: Callable[[float], None]) -> int:
    """Sleep 1 ms in each way there is; return how many microseconds too long.

    The ways are both clocks and ``pause``, a wait with a timeout in seconds.
    Raises MiniKernelError for a clock that stands still or goes back.
    """
    late = 0
    for way in (
        lambda start: calls.clock_sleep(RELWALL, 0, STEP),
        lambda start: calls.clock_sleep(ABSMONO, *divmod(start + STEP, SECOND)),
        lambda start: pause(STEP / SECOND),
    ):
        start = now(calls, ABSMONO)
        check("clock_sleep", way(start) or 0, f"{STEP} ns")
        slept = now(calls, ABSMONO) - start
        if slept < STEP:
            raise MiniKernelError(
                "the host's clocks", f"a sleep of {STEP} ns was over after {slept} ns"
            )
        late += slept - STEP
    return late // 1000
