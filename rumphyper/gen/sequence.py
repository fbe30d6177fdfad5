"""What became of numbered frames: lost, doubled, overtaken. No I/O.

A frame that arrives after one with a higher number is reordered (RFC 4737, 3.3),
one that has arrived before is a duplicate (RFC 5560), and what has not arrived
in the end is lost. The far side is not trusted: whatever the numbers, memory is
bounded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

MOST_GAPS = 1 << 16
"""Gaps that are remembered; frames missing from older ones count as lost for good."""


class Gaps:
    """Numbers below a limit that are missing, as runs from a start to an end."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.count = 0
        """How many numbers are missing, remembered or not."""

    def append(self, start: int, end: int) -> None:
        """Numbers from ``start`` to before ``end`` are missing; later than all."""
        self._starts.append(start)
        self._ends.append(end)
        self.count += end - start
        if len(self._starts) > MOST_GAPS:
            del self._starts[: MOST_GAPS // 2], self._ends[: MOST_GAPS // 2]

    def remove(self, number: int) -> bool:
        """One that was missing is there; false when it was not missing."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, number) - 1
        if at < 0 or number >= ends[at]:
            return False
        self.count -= 1
        start, end = starts[at], ends[at]
        left, right = (start, number), (number + 1, end)
        rest = [(low, high) for low, high in (left, right) if low < high]
        starts[at : at + 1] = [low for low, _ in rest]
        ends[at : at + 1] = [high for _, high in rest]
        return True

    def runs(self) -> list[tuple[int, int]]:
        """First and last number of each run that is remembered."""
        return [(s, e - 1) for s, e in zip(self._starts, self._ends, strict=True)]


class Stream:
    """The frames of one sender, in the order in which they arrive.

    ``details`` keeps which numbers were doubled and overtaken, up to
    `MOST_GAPS` of each.
    """

    def __init__(self, details: bool = False) -> None:
        self.received = 0
        self.duplicates = 0
        self.reordered = 0
        self.total: int | None = None
        """How many frames the sender has sent, once it has said so."""

        self.doubled: list[int] = []
        self.late: list[int] = []
        self._details = details
        self._next = 0
        self._gaps = Gaps()

    def add(self, numbers: Sequence[int]) -> None:
        """Frames with these numbers have arrived."""
        count = len(numbers)
        self.received += count
        start = self._next
        if numbers[0] == start and numbers == tuple(range(start, start + count)):
            self._next = start + count
            return
        for number in numbers:
            if number == self._next:
                self._next += 1
            elif number > self._next:
                self._gaps.append(self._next, number)
                self._next = number + 1
            elif self._gaps.remove(number):
                self.reordered += 1
                self._keep(self.late, number)
            else:
                self.duplicates += 1
                self._keep(self.doubled, number)

    def _keep(self, numbers: list[int], number: int) -> None:
        if self._details and len(numbers) < MOST_GAPS:
            numbers.append(number)

    def end(self, total: int) -> None:
        """The sender says that it has sent ``total`` frames."""
        self.total = total

    @property
    def lost(self) -> int:
        """Frames that are missing by now, also those at the end that was told."""
        return self._gaps.count + self._tail

    @property
    def _tail(self) -> int:
        return max(0, (self.total or 0) - self._next)

    def missing(self) -> list[tuple[int, int]]:
        """The first and last number of each run of missing frames."""
        tail = [(self._next, self._next + self._tail - 1)] if self._tail else []
        return self._gaps.runs() + tail

    def as_dict(self) -> dict[str, object]:
        """The figures by name, for ``--json``."""
        figures: dict[str, object] = {
            "received": self.received,
            "sent": self.total,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "reordered": self.reordered,
        }
        if self._details:
            figures["missing"] = self.missing()
            figures["doubled"] = self.doubled
            figures["late"] = self.late
        return figures
