"""timerfd(2): a descriptor that becomes readable at a time.

Python has it from 3.13 on only, so this goes through ctypes.
"""

from __future__ import annotations

import ctypes
import os
import time

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import check, libc


class _Itimerspec(ctypes.Structure):
    """struct itimerspec: an interval, which is not used, and the first time."""

    _fields_ = [(name, ctypes.c_long) for name in ("_s", "_ns", "seconds", "ns")]


class Timer:
    """Readable from the time that `arm` was given until it is armed again."""

    def __init__(self) -> None:
        try:
            create = libc().timerfd_create
        except AttributeError:
            raise UnsupportedError(
                "timerfd", "this host's C library has none", "use Linux 2.6.25 or newer"
            ) from None
        flags = os.O_NONBLOCK | os.O_CLOEXEC  # the same numbers as TFD_*
        result = create(time.CLOCK_MONOTONIC, flags)
        self._fd = check(result, "timer", "close other descriptors")

    def fileno(self) -> int:
        """The descriptor, for poll and its like."""
        return self._fd

    def arm(self, seconds: float | None) -> None:
        """Become readable in ``seconds`` (0: at once), or never for None."""
        ns = 0 if seconds is None else max(1, int(seconds * 1e9))
        value = _Itimerspec(0, 0, *divmod(ns, 10**9))
        result = libc().timerfd_settime(self._fd, 0, ctypes.byref(value), None)
        check(result, "timer")

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
