"""Requests of block I/O, and what the kernel is told of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.families.bio import BIODONE
from tests.hypercalls.support import Setup

READ, WRITE, SYNC = 1, 2, 4
BLOCK = 512


class Blocks:
    """Makes requests and keeps what biodone was told: (donearg, octets, errno)."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.done: queue.Queue[tuple[int, int, int]] = queue.Queue()
        self.threads: list[int] = []
        self.before: Callable[[int], object] = lambda donearg: None
        self._others = set(threading.enumerate())
        self._biodone = BIODONE(self._note)

    def _note(self, donearg: int, octets: int, error: int) -> None:
        self.before(donearg)
        self.threads.append(threading.get_ident())
        self.done.put((donearg, octets, error))

    def ask(self, fd: int, op: int, data: Any, size: int, off: int, arg: int) -> None:
        self.setup.call("bio", fd, op, data, size, off, self._biodone, arg)

    def workers(self) -> list[threading.Thread]:
        """The threads that have been made for requests."""
        new = set(threading.enumerate()) - self._others
        return [thread for thread in new if thread.name.startswith("rumpbio")]

    def wait(self, count: int = 1) -> list[tuple[int, int, int]]:
        return [self.done.get(timeout=20) for _ in range(count)]
