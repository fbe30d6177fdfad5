"""What the checks of sockets are made with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

LOOPBACK = "127.0.0.1"
Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


@contextlib.contextmanager
def silent_port(kernel: Any) -> Iterator[tuple[str, int]]:
    """A TCP address that never answers: NetBSD drops a SYN for a socket that is
    bound and does not listen."""
    with kernel.socket() as hold:
        hold.bind((LOOPBACK, 0))
        yield hold.getsockname()
