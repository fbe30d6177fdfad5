"""Whose numbers and structures a client's system calls have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

_making = threading.Lock()


def _nothing() -> None:
    return None


@attrs.frozen
class Abi:
    """How system calls are made for processes of one kind."""

    syscall: Callable[[int, bytes, Any], int]
    """(number, arguments, two long): made on the current lwp, with its errno."""

    errno: Callable[[int], int] = int
    """NetBSD's errno as such a process has it."""

    emulate: Callable[[], None] = _nothing
    """Let processes that the kernel makes from now on be of this kind."""

    @contextmanager
    def making(self) -> Iterator[None]:
        """Around the making of a process."""
        with _making:
            self.emulate()
            yield
