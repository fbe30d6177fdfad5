"""A limit on frames for everybody: what a port may flood in a second. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

WINDOW = 1.0
"""Seconds in which a port may flood as many frames as the limit says."""


class Storm:
    """Lets ``limit`` group frames a second pass from each port; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.stopped = 0
        """Frames that were over the limit."""

        self._windows: dict[int, tuple[float, int]] = {}

    def calm(self, port: int, frames: Sequence[bytes], now: float) -> Sequence[bytes]:
        """The frames that may pass: all for one station, the first of the others."""
        groups = sum(frame[0] & 1 for frame in frames)
        if not groups:
            return frames
        begin, used = self._windows.get(port, (now, 0))
        if now - begin >= WINDOW:
            begin, used = now, 0
        left = self.limit - used
        self._windows[port] = begin, used + min(groups, left)
        if groups <= left:
            return frames
        self.stopped += groups - left
        passing = []
        for frame in frames:
            if frame[0] & 1:
                left -= 1
                if left < 0:
                    continue
            passing.append(frame)
        return passing
