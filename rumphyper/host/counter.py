"""The processor's counter that recorded thunks read, told in nanoseconds.

rdtsc on x86-64 and cntvct_el0 on aarch64 count at a constant rate on every
processor that Linux itself takes as a clock source. Rate and offset are measured
against CLOCK_MONOTONIC: a recorded thunk calls clock_gettime(2), and its record
holds the counter on both sides of the answer.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable

Probe = Callable[[], tuple[int, int, int]]
"""Calls clock_gettime into a timespec; returns thread pointer, start and end."""

_SECOND = 1_000_000_000
_APART = 2_000_000
"""Nanoseconds that two readings should at least be apart to give the rate."""

_TRIES = 7


class Counter:
    """Turns counter values into nanoseconds of CLOCK_MONOTONIC.

    Good to a fraction of a microsecond: each `settle` measures again and draws the
    line from the first measurement to the latest.
    """

    def __init__(self, probe: Probe, timespec: ctypes.Array[ctypes.c_int64]) -> None:
        self._probe = probe
        self._timespec = timespec
        self._lock = threading.Lock()
        thread, self._first, self._then = self._measure()
        self.thread_offset = threading.get_ident() - thread
        """What to add to the thread pointer to get pthread_self(3)'s name."""
        self._rate = 1.0
        self._settled = False

    def _measure(self) -> tuple[int, int, int]:
        """Thread pointer, counter and clock at one moment.

        The narrowest of some tries: the others were interrupted in between.
        """
        tries = []
        for _ in range(_TRIES):
            thread, start, end = self._probe()
            now = self._timespec[0] * _SECOND + self._timespec[1]
            tries.append((end - start, thread, (start + end) // 2, now))
        _, thread, counter, now = min(tries)
        return thread, counter, now

    def settle(self) -> None:
        """Measure again; waits 2 ms at most, when the first time is too near."""
        early = _APART - (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self._then)
        if early > 0:
            time.sleep(early / _SECOND)
        with self._lock:
            _, counter, now = self._measure()
            self._rate = (now - self._then) / (counter - self._first)
            self._settled = True

    @property
    def rate(self) -> float:
        """Nanoseconds in which the counter goes on by one."""
        if not self._settled:
            self.settle()
        return self._rate

    def nanoseconds(self, counter: int) -> int:
        """The time on CLOCK_MONOTONIC at which the counter had a value."""
        return self._then + round((counter - self._first) * self._rate)
