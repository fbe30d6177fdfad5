"""Round trip times: the shortest, the longest, and percentiles. No I/O."""

from __future__ import annotations

import math
import random
from array import array

KEPT = 1 << 20
"""Times that are kept; of more an even sample (Vitter's algorithm R)."""

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Latency:
    """Collects times in nanoseconds."""

    def __init__(self, kept: int = KEPT) -> None:
        self.count = 0
        self._sum = 0
        self._squares = 0
        self._least = 0
        self._most = 0
        self._times = array("q")
        self._kept = kept
        self._chance = random.Random(0)

    def add(self, time_ns: int) -> None:
        """Note one time."""
        self.count += 1
        self._sum += time_ns
        self._squares += time_ns * time_ns
        self._least = time_ns if self.count == 1 else min(self._least, time_ns)
        self._most = max(self._most, time_ns)
        if len(self._times) < self._kept:
            self._times.append(time_ns)
        elif (at := self._chance.randrange(self.count)) < self._kept:
            self._times[at] = time_ns

    def as_dict(self) -> dict[str, float] | None:
        """Microseconds by name: min, mean, max, stddev, p50 ...; None for no time.

        A percentile is the least of the times that so many percent of them are
        not above (the nearest rank).
        """
        if not self.count:
            return None
        mean = self._sum / self.count
        variance = max(0.0, self._squares / self.count - mean * mean)
        figures = {
            "min": self._least,
            "mean": mean,
            "max": self._most,
            "stddev": math.sqrt(variance),
        }
        times = sorted(self._times)
        for percent in PERCENTILES:
            rank = math.ceil(percent / 100 * len(times))
            figures[f"p{percent:g}"] = times[max(0, rank - 1)]
        return {name: round(value / 1000, 3) for name, value in figures.items()}
