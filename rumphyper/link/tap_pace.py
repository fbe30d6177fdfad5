"""How many reads to post at once, when nobody can tell how many frames wait.

A read too many costs about a quarter of a microsecond, a call too many three.
Bursts are like the ones before them, so as many are posted as the last one
had; a burst that turns out longer is met by doubling.
"""

from __future__ import annotations

LEAST = 2
"""Reads posted at least: one for a lone frame, one to see that it is alone."""


class Pace:
    """The number of reads to post next: ``want``, at most ``most``."""

    def __init__(self, most: int) -> None:
        self.want = min(LEAST, most)
        self._most = most
        self._expected = 0
        self._seen = 0

    def full(self, count: int) -> None:
        """All of ``count`` reads have found a frame: the burst may go on."""
        self._seen += count
        left = self._expected - self._seen
        want = left + 1 if left > 0 else 2 * count
        self.want = want if want < self._most else self._most

    def end(self, count: int) -> None:
        """Only ``count`` reads have found a frame: the burst is over."""
        burst = self._seen + count
        if burst:
            self.want = min(burst + 1, self._most)
        else:
            self.want = max(min(LEAST, self._most), self.want // 2)
        self._expected, self._seen = burst, 0


class Steady(Pace):
    """For reads that stop by themselves where no frame is left: always the most."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.want = most

    def full(self, count: int) -> None:
        """Nothing is learnt."""

    def end(self, count: int) -> None:
        """Nothing is learnt."""
