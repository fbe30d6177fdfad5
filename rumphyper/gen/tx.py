"""Sending: a loop from a source to a link, at a rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs

from rumphyper.gen.pace import NEVER, Pace
from rumphyper.gen.reports import Reports
from rumphyper.gen.sources import Source
from rumphyper.link import Link
from rumphyper.link.waiter import Stopper

LONGEST_NAP = 0.05
"""Seconds: after each somebody may want the loop to stop."""

FULL_NAP = 20e-6
"""Seconds until a full link is offered its frames again."""

ENDS = 5
END_GAP = 0.01
"""How often the end of a stream is told, and seconds between: frames get lost."""

KEPT = 0.99
"""The part of a rate that must be reached for it to count as kept."""


@attrs.define(eq=False)
class Sent:
    """What has been sent so far, and how fast."""

    begin: float
    frames: int = 0
    octets: int = 0
    full: int = 0
    """How often the link had no room for all of a burst."""

    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds if self.seconds else 0.0

    def keeps(self, rate: float | None) -> bool:
        """Whether the rate that was asked for was reached."""
        return rate is None or self.rate >= KEPT * rate


class Transmitter:
    """Sends frames of ``source`` until ``count``, the end, or somebody's wish.

    ``show`` is called every ``period`` seconds. `sent` is right at any time.
    """

    def __init__(
        self,
        link: Link,
        source: Source,
        pace: Pace,
        count: int | None = None,
        duration: float | None = None,
    ) -> None:
        self.sent = Sent(time.monotonic())
        self._link = link
        self._source = source
        self._pace = pace
        self._left = NEVER if count is None else count
        self._duration = NEVER if duration is None else duration

    def run(
        self,
        stop: Stopper,
        period: float | None = None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        """Send. Raises what the link and the source raise."""
        sent = self.sent
        now = sent.begin = time.monotonic()
        end = now + self._duration
        reports = Reports(now, period, show)
        frames: Sequence[bytes] = ()
        while not stop.wanted and now < end:
            reports.tell(now)
            if not frames:
                frames = self._next(now)
            if frames:
                frames = self._send(frames)
            elif self._left <= 0 or self._source.over:
                break
            else:
                pause = max(self._pace.wait(), self._source.wait(now))
                time.sleep(min(pause, LONGEST_NAP, max(0.0, end - now)))
            now = time.monotonic()
            sent.seconds = now - sent.begin
        self._tell_end()

    def _next(self, now: float) -> Sequence[bytes]:
        if self._left <= 0:
            return ()
        due = self._pace.due(now)
        if not due:
            return ()
        return self._source.take(int(min(due, self._left)), now)

    def _send(self, frames: Sequence[bytes]) -> Sequence[bytes]:
        """Send what there is room for; return the rest."""
        taken = self._link.send(frames)
        sent = self.sent
        sent.frames += taken
        self._left -= taken
        self._pace.spend(taken)
        sent.octets += sum(map(len, frames[:taken]))
        if taken < len(frames):
            sent.full += 1
            time.sleep(FULL_NAP)
        return frames[taken:]

    def _tell_end(self) -> None:
        """Say how many frames there were, so that the last ones are missed, too."""
        frame = self._source.end()
        if frame is not None and self.sent.frames:
            for _ in range(ENDS):
                self._link.send([frame])
                time.sleep(END_GAP)
