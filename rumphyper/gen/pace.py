"""When frames are due: a rate held over time, in bursts. No I/O, no clock."""

from __future__ import annotations

BATCH = 256
"""Frames of a burst at most where none is asked for."""

TICK = 0.001
"""Seconds between two bursts where only the rate is asked for, about."""

DEBT = 0.1
"""Seconds that may be made up for: what is later is not sent in a rush."""

NEVER = float("inf")


class Pace:
    """Says how many frames are due; without a ``rate`` always a whole burst."""

    def __init__(self, rate: float | None, burst: int | None) -> None:
        self.rate = rate
        if burst is None:
            burst = BATCH if rate is None else max(1, min(BATCH, int(rate * TICK)))
        self.burst = burst
        self._credit = float(burst)
        self._at: float | None = None

    def due(self, now: float) -> int:
        """Frames to send now: a burst or none."""
        if self.rate is None:
            return self.burst
        if self._at is not None:
            earned = (now - self._at) * self.rate
            most = max(DEBT * self.rate, 2 * self.burst)
            self._credit = min(self._credit + earned, most)
        self._at = now
        return self.burst if self._credit >= self.burst else 0

    def spend(self, frames: int) -> None:
        """So many were sent."""
        if self.rate is not None:
            self._credit -= frames

    def wait(self) -> float:
        """Seconds from the last `due` until the next burst."""
        if self.rate is None:
            return 0.0
        return max(0.0, (self.burst - self._credit) / self.rate)
