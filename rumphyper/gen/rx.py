"""Receiving: frames counted, and the numbers in them followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import attrs

from rumphyper.gen.numbered import Kind, read_alike, read_mark
from rumphyper.gen.pace import NEVER
from rumphyper.gen.reports import Reports
from rumphyper.gen.sequence import Stream
from rumphyper.link import Link
from rumphyper.link.waiter import Stopper

BATCH = 256
MOST_STREAMS = 1024
"""Streams that are followed; frames of further ones are only counted."""

LINGER = 0.5
"""Seconds without a frame after all streams are over: late ones may come."""


@attrs.define(eq=False)
class Received:
    """What has arrived so far, and how fast."""

    frames: int = 0
    octets: int = 0
    other: int = 0
    """Frames without a number, or of more streams than are followed."""

    first: float | None = None
    last: float = 0.0
    """When frames arrived, in seconds of the monotonic clock."""

    @property
    def rate(self) -> float:
        """Frames a second from the first to the last."""
        took = self.last - (self.first or 0.0)
        return (self.frames - 1) / took if self.frames > 1 and took > 0 else 0.0


class Receiver:
    """Takes all frames of a link and follows the streams among them."""

    def __init__(
        self,
        link: Link,
        count: int | None = None,
        duration: float | None = None,
        *,
        keep: bool = False,
        details: bool = False,
    ) -> None:
        """Stop after ``count`` frames, ``duration`` seconds, or, unless ``keep``,
        when every stream that was seen has told its end."""
        self.received = Received()
        self.streams: dict[int, Stream] = {}
        self._link = link
        self._count = NEVER if count is None else count
        self._duration = NEVER if duration is None else duration
        self._keep = keep
        self._details = details
        self._ended_at = 0.0

    def run(
        self,
        stop: Stopper,
        period: float | None = None,
        show: Callable[[], None] = lambda: None,
        *,
        busy: bool = False,
    ) -> None:
        """Receive. Raises what the link raises."""
        link, received = self._link, self.received
        now = time.monotonic()
        end = now + self._duration
        reports = Reports(now, period, show)
        over = NEVER
        while now < end and received.frames < self._count and not stop.wanted:
            reports.tell(now)
            limit = int(min(BATCH, self._count - received.frames))
            frames = link.recv(limit, 0)
            if frames:
                self.take(frames, time.monotonic())
                over = self._over()
            elif now >= over:
                return
            elif not busy:
                until = min(end, reports.next, over, now + 3600)
                if not stop.wait(link.fileno(), max(0.0, until - now)):
                    return
            now = time.monotonic()

    def take(self, frames: Sequence[bytes], now: float) -> None:
        """Count frames that have arrived."""
        alike = read_alike(frames)
        stream = None if alike is None else self._stream(alike[0])
        if alike is not None and stream is not None:
            stream.add(alike[1])
        else:
            frames = [frame for frame in frames if not self._take_one(frame)]
            if not frames:
                return
        received = self.received
        if received.first is None:
            received.first = now
        received.last = now
        received.frames += len(frames)
        received.octets += sum(map(len, frames))

    def _take_one(self, frame: bytes) -> bool:
        """Follow one frame's stream; true for one that only tells the end."""
        mark = read_mark(frame)
        stream = None
        if mark is not None and mark.kind in (Kind.DATA, Kind.END):
            stream = self._stream(mark.stream)
        if mark is None or stream is None:
            self.received.other += 1
            return False
        if mark.kind == Kind.END:
            stream.end(mark.number)
            self._ended_at = time.monotonic()
            return True
        stream.add((mark.number,))
        return False

    def _stream(self, number: int) -> Stream | None:
        stream = self.streams.get(number)
        if stream is None and len(self.streams) < MOST_STREAMS:
            stream = self.streams[number] = Stream(self._details)
        return stream

    def _over(self) -> float:
        """When to stop if nothing more arrives: soon after all streams' ends."""
        if self._keep or not self.streams:
            return NEVER
        if any(stream.total is None for stream in self.streams.values()):
            return NEVER
        return max(self.received.last, self._ended_at) + LINGER

    def total(self) -> dict[str, int]:
        """The figures of all streams together."""
        streams = self.streams.values()
        return {
            "lost": sum(stream.lost for stream in streams),
            "duplicates": sum(stream.duplicates for stream in streams),
            "reordered": sum(stream.reordered for stream in streams),
        }
