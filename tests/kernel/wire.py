"""A wire for the tests: two links in memory, without any code under test."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.link.base import BATCH, Link


class End(Link):
    """One end of a wire."""

    def __init__(self, name: str, mac: bytes) -> None:
        super().__init__(name, mac)
        self.peer: End | None = None
        self.frames: deque[bytes] = deque()
        self.filled = threading.Condition()
        self._event = os.eventfd(0, os.EFD_CLOEXEC)

    def send(self, frames: Sequence[Buffer]) -> int:
        self.check_open()
        self.check_frames(frames)
        peer = self.peer
        if peer is not None:
            with peer.filled:
                peer.frames.extend(bytes(frame) for frame in frames)
                peer.filled.notify_all()
        return len(frames)

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        with self.rx_lock, self.filled:
            self.filled.wait_for(lambda: self.frames or self.closed, timeout)
            self.check_open()
            return [self.frames.popleft() for _ in range(min(limit, len(self.frames)))]

    def fileno(self) -> int:
        return self._event

    def _wake(self) -> None:
        with self.filled:
            self.filled.notify_all()

    def _release(self) -> None:
        os.close(self._event)


def wire() -> tuple[End, End]:
    """Two ends: what one sends the other receives."""
    one = End("wire:0", b"\xb2\xa0\x00\x00\x00\x01")
    two = End("wire:1", b"\xb2\xa0\x00\x00\x00\x02")
    one.peer, two.peer = two, one
    return one, two
