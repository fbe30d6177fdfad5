"""Clocks and sleeping."""

from __future__ import annotations

import time
from ctypes import byref, c_int64, c_long

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import Kernel, Setup


def test_clocks(setup: Setup) -> None:
    """Both clocks are the host's; an unknown one is refused."""
    sec, nsec = c_int64(), c_long()
    for clock, host in ((0, time.CLOCK_REALTIME), (1, time.CLOCK_MONOTONIC)):
        before = time.clock_gettime_ns(host)
        assert setup.call("clock_gettime", clock, byref(sec), byref(nsec)) == 0
        now = sec.value * 10**9 + nsec.value
        assert before <= now <= time.clock_gettime_ns(host)
        assert 0 <= nsec.value < 10**9
    assert setup.call("clock_gettime", 2, byref(sec), byref(nsec)) == Errno.EINVAL


def test_sleep(setup: Setup) -> None:
    """Relative or absolute, at least so long, without the virtual CPU."""
    start = time.monotonic()
    assert setup.call("clock_sleep", 0, 0, 30_000_000) == 0
    assert 0.03 <= time.monotonic() - start < 1
    assert setup.kernel.names()[-2:] == [
        "hyp_backend_unschedule",
        "hyp_backend_schedule",
    ]
    assert setup.kernel.events[-1][2] == (Kernel.locks, None)
    until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 30_000_000
    assert setup.call("clock_sleep", 1, until // 10**9, until % 10**9) == 0
    assert time.clock_gettime_ns(time.CLOCK_MONOTONIC) >= until
    start = time.monotonic()
    assert setup.call("clock_sleep", 1, 0, 0) == 0  # long over
    assert time.monotonic() - start < 0.5
    assert setup.call("clock_sleep", 0, 0, 10**9) == Errno.EINVAL
    assert setup.call("clock_sleep", 0, -1, 0) == Errno.EINVAL
    assert setup.call("clock_sleep", 5, 0, 0) == Errno.EINVAL


def test_sleep_outlasts_signals(setup: Setup) -> None:
    """A signal does not end a relative sleep early."""
    import signal

    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        start = time.monotonic()
        assert setup.call("clock_sleep", 0, 0, 100_000_000) == 0
        assert time.monotonic() - start >= 0.1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) >= 2
