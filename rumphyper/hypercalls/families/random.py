"""Random octets.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser_random.c.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family

HARD, NOWAIT = 1, 2
MOST = 4096
"""Octets given at once at most (the stock library: 32); callers ask again."""


def host_random(count: int, flags: int) -> bytes:
    """Octets from the host's generator; BlockingIOError when it would wait.

    The host's generator is seeded once and never runs out, so HARD asks for no
    other source than the rest: /dev/random may wait for ever on small machines.
    """
    return os.getrandom(count, os.GRND_NONBLOCK if flags & NOWAIT else 0)


class Random(Family):
    """Octets from ``source``: called with a count and flags, returns bytes.

    A source that returns fewer is asked again by the kernel.
    """

    family = "random"

    def __init__(self, source: Callable[[int, int], bytes] = host_random) -> None:
        self.source = source

    def getrandom(self, buf: int, buflen: int, flags: int, retp: Any) -> int:
        """Fill a buffer, perhaps in part; EAGAIN with NOWAIT and nothing there."""
        try:
            data = self.source(min(buflen, MOST), flags)[:buflen]
        except BlockingIOError:
            return Errno.EAGAIN
        ctypes.memmove(buf, data, len(data))
        retp[0] = len(data)
        return 0
