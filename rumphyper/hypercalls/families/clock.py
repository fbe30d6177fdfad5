"""Clocks: read them, sleep by them.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

import ctypes
import errno
import time
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import to_netbsd
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.report import HypercallError
from rumphyper.hypercalls.upcalls import Upcalls

RELWALL, ABSMONO = 0, 1
TIMER_ABSTIME = 1
BILLION = 10**9

_CLOCKS = {RELWALL: time.CLOCK_REALTIME, ABSMONO: time.CLOCK_MONOTONIC}


class Timespec(ctypes.Structure):
    """struct timespec; both members are longs on 64-bit hosts."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class Clock(Family):
    """The host's wall clock and monotonic clock.

    A relative sleep (RELWALL) lasts at least so long, an absolute one (ABSMONO)
    until the monotonic clock has that value. Signals do not shorten them.
    """

    family = "clock"

    def __init__(self, upcalls: Upcalls) -> None:
        self.upcalls = upcalls
        self._nanosleep = ctypes.CFUNCTYPE(
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.POINTER(Timespec),
            ctypes.c_void_p,
        )(("clock_nanosleep", libc()))

    def clock_gettime(self, clock: int, sec: Any, nsec: Any) -> int:
        """Seconds and nanoseconds of a clock."""
        if clock not in _CLOCKS:
            raise HypercallError(f"clock {clock}", "unknown", "a bug of the kernel")
        now = time.clock_gettime_ns(_CLOCKS[clock])
        sec[0], nsec[0] = divmod(now, BILLION)
        return 0

    def clock_sleep(self, clock: int, sec: int, nsec: int) -> int:
        """Sleep without the virtual CPU."""
        if clock not in _CLOCKS:
            raise HypercallError(f"clock {clock}", "unknown", "a bug of the kernel")
        until = Timespec(sec, nsec)
        locks = self.upcalls.give_up()
        if clock == ABSMONO:
            flags, remaining = TIMER_ABSTIME, None
        else:
            # What is left after a signal is written back for the next round.
            flags, remaining = 0, ctypes.addressof(until)
        which = time.CLOCK_MONOTONIC
        while True:
            number = self._nanosleep(which, flags, ctypes.byref(until), remaining)
            if number != errno.EINTR:
                break
        self.upcalls.take(locks)
        return to_netbsd(number)
