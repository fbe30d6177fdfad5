"""Round trips of numbered frames: ping sends them, pong sends them back."""

from __future__ import annotations

import time
from collections.abc import Callable

from rumphyper.gen.latency import Latency
from rumphyper.gen.numbered import Kind, Numbered, read_mark
from rumphyper.gen.pace import NEVER
from rumphyper.gen.reports import Reports
from rumphyper.gen.sequence import Stream
from rumphyper.link import Link
from rumphyper.link.waiter import Stopper

BATCH = 64
FULL_PAUSE = 0.001
"""Seconds until a full link is offered a request again."""

MOST_OPEN = 1 << 16
"""Requests that may wait for their answers at once."""


class Ping:
    """Sends requests and measures how long their answers take.

    Without a ``rate`` each request goes out when the one before is answered or
    given up, after ``timeout`` seconds. Late answers count as answers, but the
    time that they took counts, too.
    """

    def __init__(
        self,
        link: Link,
        numbered: Numbered,
        *,
        rate: float | None = None,
        timeout: float = 1.0,
        count: int | None = None,
        duration: float | None = None,
    ) -> None:
        self.sent = 0
        self.answers = Stream()
        self.latency = Latency()
        self._link = link
        self._numbered = numbered
        self._gap = None if rate is None else 1 / rate
        self._timeout = timeout
        self._count = NEVER if count is None else count
        self._duration = NEVER if duration is None else duration
        self._open: dict[int, int] = {}

    def run(
        self,
        stop: Stopper,
        period: float | None = None,
        show: Callable[[], None] = lambda: None,
        *,
        busy: bool = False,
    ) -> None:
        """Send and receive. Raises what the link raises."""
        link = self._link
        begin = due = time.monotonic()
        end = begin + self._duration
        reports = Reports(begin, period, show)
        while not stop.wanted:
            now = time.monotonic()
            reports.tell(now)
            sending = self.sent < self._count and now < end
            if sending and now >= due:
                due = self._send(now, begin)
            elif not sending and now >= self._given_up():
                return
            frames = link.recv(BATCH, 0)
            if frames:
                arrived = time.monotonic_ns()
                for frame in frames:
                    if self._answer(frame, arrived):
                        due = 0.0
            elif not busy:
                until = min(
                    reports.next, min(due, end) if sending else self._given_up()
                )
                now = time.monotonic()
                if not stop.wait(link.fileno(), min(max(0.0, until - now), 3600)):
                    return

    def _given_up(self) -> float:
        """When the newest request that is not answered counts as lost."""
        if not self._open:
            return 0.0
        newest = next(reversed(self._open.values()))
        return newest / 1e9 + self._timeout

    def _send(self, now: float, begin: float) -> float:
        """Send a request; return when the next one is due."""
        number = self._numbered.next
        frames = self._numbered.take(1)
        if len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._open[number] = time.monotonic_ns()
        if not self._link.send(frames):  # no room: the number is used again
            del self._open[number]
            self._numbered.next = number
            return now + FULL_PAUSE
        self.sent += 1
        if self._gap is None:
            return now + self._timeout
        return begin + self.sent * self._gap

    def _answer(self, frame: bytes, arrived: int) -> bool:
        """Note an answer; whether the next request may go out for it."""
        mark = read_mark(frame)
        if (
            mark is None
            or mark.kind != Kind.REPLY
            or mark.stream != self._numbered.stream
            or mark.number >= self._numbered.next
        ):
            return False
        self.answers.add((mark.number,))
        begin = self._open.pop(mark.number, None)
        if begin is not None:
            self.latency.add(arrived - begin)
        return self._gap is None and mark.number == self._numbered.next - 1

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return self.sent - self.answers.received + self.answers.duplicates


def reply(frame: bytes, mac: bytes) -> bytes | None:
    """The answer to a request: the same frame back. None for other frames.

    It comes from the address that was asked, or from ``mac`` when all were.
    """
    mark = read_mark(frame)
    if mark is None or mark.kind != Kind.REQUEST:
        return None
    place = mark.place
    ip = place - 28
    return b"".join(
        (
            frame[6:12],
            mac if frame[0] & 1 else frame[:6],
            frame[12 : ip + 12],
            frame[ip + 16 : ip + 20],
            frame[ip + 12 : ip + 16],
            frame[ip + 22 : ip + 24],
            frame[ip + 20 : ip + 22],
            frame[ip + 24 : place + 3],
            bytes([Kind.REPLY]),
            frame[place + 4 :],
        )
    )


class Pong:
    """Sends back every request that arrives; `answered` counts them."""

    def __init__(
        self, link: Link, count: int | None = None, duration: float | None = None
    ) -> None:
        self.answered = 0
        self.unsent = 0
        """Answers that the link had no room for."""

        self._link = link
        self._count = NEVER if count is None else count
        self._duration = NEVER if duration is None else duration

    def run(
        self,
        stop: Stopper,
        period: float | None = None,
        show: Callable[[], None] = lambda: None,
        *,
        busy: bool = False,
    ) -> None:
        """Answer. Raises what the link raises."""
        link = self._link
        now = time.monotonic()
        end = now + self._duration
        reports = Reports(now, period, show)
        while now < end and self.answered < self._count and not stop.wanted:
            reports.tell(now)
            frames = link.recv(int(min(BATCH, self._count - self.answered)), 0)
            replies = (reply(frame, link.mac) for frame in frames)
            answers = [answer for answer in replies if answer is not None]
            if answers:
                taken = link.send(answers)
                self.answered += taken
                self.unsent += len(answers) - taken
            if not frames and not busy:
                until = min(end, reports.next, now + 3600)
                if not stop.wait(link.fileno(), max(0.0, until - now)):
                    return
            now = time.monotonic()
