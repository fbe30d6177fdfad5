"""A descriptor that tells of frames where a port has no interrupts.

A thread looks for frames and keeps the ones that it finds until somebody receives.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable

PAUSE = 0.0005
"""Seconds between two looks."""


class Feed:
    """Looks for frames, under ``lock``, from now until it is stopped."""

    def __init__(self, lock: threading.RLock, look: Callable[[], list[bytes]]) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable while there are frames."""

        self.frames: deque[bytes] = deque()
        """What has been found, first come first."""

        self._lock = lock
        self._look = look
        self._stopped = threading.Event()
        self._empty = threading.Event()
        thread = threading.Thread(target=self._run, name="dpdk feed", daemon=True)
        thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._stopped.is_set():
                    return
                if not self.frames:
                    self.frames.extend(self._look())
                    if self.frames:
                        os.eventfd_write(self.fd, 1)
                found = bool(self.frames)
                self._empty.clear()
            if found:
                self._empty.wait()
            else:
                self._stopped.wait(PAUSE)

    def take(self, limit: int, pause: bool = False) -> list[bytes]:
        """Up to ``limit`` of the frames; the caller holds the lock.

        With ``pause`` the thread does not look for more until `look_on`, and the
        descriptor stays readable.
        """
        frames = self.frames
        found = [frames.popleft() for _ in range(min(limit, len(frames)))]
        if not (frames or pause):
            self.look_on()
        return found

    def look_on(self) -> None:
        """Look for frames again, all having been taken; the caller holds the lock."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        self._empty.set()

    def stop(self) -> None:
        """Make the thread end; its last look may still be under way."""
        self._stopped.set()
        self._empty.set()

    def close(self) -> None:
        """Free the descriptor; with the lock held, after `stop`."""
        os.close(self.fd)
