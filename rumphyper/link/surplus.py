"""Frames that came in excess of what was asked for, and a descriptor that tells."""

from __future__ import annotations

import contextlib
import os
import select
from collections import deque
from collections.abc import Iterable

from typing_extensions import Buffer


class Surplus:
    """Keeps frames for the next call, beside those that ``fd`` has.

    For one thread at a time. It does not own ``fd``.
    """

    def __init__(self, fd: int) -> None:
        self._frames: deque[bytes] = deque()
        self._rung = False
        with contextlib.ExitStack() as held:
            self._epoll = held.enter_context(select.epoll())
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            held.callback(os.close, self._bell)
            self._epoll.register(fd, select.EPOLLIN)
            self._epoll.register(self._bell, select.EPOLLIN)
            self._held = held.pop_all()

    def __bool__(self) -> bool:
        return bool(self._frames)

    def put(self, frames: Iterable[Buffer]) -> None:
        """Keep copies of frames."""
        self._frames.extend(map(bytes, frames))
        self._show()

    def take(self, limit: int) -> list[bytes]:
        """Up to ``limit`` of the frames that are kept, the oldest first."""
        kept = self._frames
        frames = [kept.popleft() for _ in range(min(limit, len(kept)))]
        self._show()
        return frames

    def fileno(self) -> int:
        """A descriptor that is readable when ``fd`` is, or frames are kept."""
        return self._epoll.fileno()

    def _show(self) -> None:
        """Ring the bell while there are frames."""
        if bool(self._frames) != self._rung:
            self._rung = not self._rung
            if self._rung:
                os.eventfd_write(self._bell, 1)
            else:
                os.eventfd_read(self._bell)

    def close(self) -> None:
        """Close what is owned here. Idempotent."""
        self._held.close()
