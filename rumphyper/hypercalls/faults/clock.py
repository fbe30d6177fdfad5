"""Clocks that are wrong or run at another pace, and sleeps that take longer.

NetBSD's rump kernel reads the wall clock once, when it boots, and counts time
by a thread that sleeps on the monotonic clock from tick to tick
(sys/rump/librump/rumpkern/rump.c, intr.c). So sleeps follow the clocks: until a
time of the clock that the kernel sees, or for as long as it takes on it.
"""

from __future__ import annotations

import datetime
import time
from typing import Any

import attrs

from rumphyper.errors import FaultError
from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.families.clock import ABSMONO, BILLION, RELWALL
from rumphyper.hypercalls.faults.base import Fault
from rumphyper.units import Reader, duration, factor

NAMES = {RELWALL: "wall", ABSMONO: "monotonic"}
LATEST = 1 << 62
"""Nanoseconds; the host takes no later time."""


def moment(text: str) -> float:
    """Seconds since 1970 of ``2024-02-29T12:00:00`` (UTC), or those seconds."""
    if text.isdecimal() and len(text) < 11:
        return int(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "a time is 2024-02-29T12:00:00 or seconds since 1970"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.timezone.utc)
    return found.timestamp()


READERS: dict[str, Reader] = {
    "offset": duration,
    "rate": factor,
    "wall.offset": duration,
    "wall.rate": factor,
    "mono.offset": duration,
    "mono.rate": factor,
    "start": moment,
    "sleep": factor,
}
"""The settings on the command line."""


@attrs.define
class Course:
    """How a clock is shown: from its first reading on ``rate`` times as fast."""

    offset: float = 0.0
    """Seconds by which it is ahead."""

    rate: float = 1.0
    start: float | None = None
    """What its first reading shows, without the offset; None: the truth."""

    _first: int | None = attrs.field(default=None, init=False)

    @property
    def true(self) -> bool:
        """Whether it is the clock as it is."""
        return self.offset == 0 and self.rate == 1 and self.start is None

    def shown(self, now: int) -> int:
        """What is shown when the true clock says ``now``; in nanoseconds."""
        first, origin = self._begin(now)
        if self.rate == 1:
            return origin + now - first
        return origin + round((now - first) * self.rate)

    def truth(self, shown: int, now: int) -> int:
        """The opposite of `shown`: what the true clock says at that time."""
        first, origin = self._begin(now)
        if self.rate == 1:
            return first + shown - origin
        return first + round((shown - origin) / self.rate)

    def _begin(self, now: int) -> tuple[int, int]:
        if self._first is None:
            self._first = now
        start = self._first if self.start is None else round(self.start * BILLION)
        return self._first, start + round(self.offset * BILLION)


class Skew(Fault):
    """The kernel's clocks go by ``wall`` and ``mono``; sleeps take longer.

    ``sleep`` is the factor by which they take longer, after the clocks' own.
    """

    def __init__(
        self,
        wall: Course | None = None,
        mono: Course | None = None,
        sleep: float = 1.0,
        text: str = "clock",
    ) -> None:
        self.courses = {RELWALL: wall or Course(), ABSMONO: mono or Course()}
        self.sleep = sleep
        self._lead = 0
        """Nanoseconds by which the monotonic clock behind this one is ahead of the
        host's: a replay's is, by days."""

        wall, mono = self.courses[RELWALL], self.courses[ABSMONO]
        for course, now, name in (
            (wall, time.time() if wall.start is None else wall.start, "wall"),
            (mono, time.monotonic(), "monotonic"),
        ):
            if now + course.offset < 0:
                raise FaultError(
                    text, f"the {name} clock would be before 0", "set it back by less"
                )
        arounds = {"clock_gettime": Around(self._gettime)}
        if not mono.true or wall.rate != 1 or sleep != 1:
            arounds["clock_sleep"] = Around(self._sleep)
        if mono.rate != 1 or sleep != 1:
            arounds["cv_timedwait"] = Around(self._timedwait)
        super().__init__(text, arounds)

    def end(self) -> None:
        """Stay: a clock that jumps back would hold the kernel up for so long."""

    def _count(self) -> None:
        with self.lock:
            self.calls += 1

    def _gettime(self, original: Function, clock: int, sec: Any, nsec: Any) -> Any:
        self._count()
        error = original(clock, sec, nsec)
        course = self.courses.get(clock)
        if error or course is None:
            return error
        now = sec[0] * BILLION + nsec[0]
        with self.lock:
            if clock == ABSMONO:
                self._lead = now - time.monotonic_ns()
            shown = course.shown(now)
        if course.true:
            return error
        sec[0], nsec[0] = divmod(shown, BILLION)
        self.strike(f"the {NAMES[clock]} clock says {sec[0]}.{nsec[0]:09}")
        return error

    def _sleep(self, original: Function, clock: int, sec: int, nsec: int) -> Any:
        self._count()
        if clock == RELWALL and sec >= 0 and 0 <= nsec < BILLION:
            rate = self.courses[RELWALL].rate
            wanted = self._scaled(sec * BILLION + nsec, rate)
        elif clock == ABSMONO and sec >= 0 and 0 <= nsec < BILLION:
            with self.lock:
                now = time.monotonic_ns() + self._lead
                course = self.courses[ABSMONO]
                wanted = course.truth(sec * BILLION + nsec, now)
            if wanted > now:
                wanted = now + self._scaled(wanted - now, 1)
        else:
            return original(clock, sec, nsec)
        wanted = min(max(wanted, 0), LATEST)
        self.strike(f"a sleep of {sec}.{nsec:09} becomes {wanted / BILLION:.9f}")
        return original(clock, *divmod(wanted, BILLION))

    def _timedwait(
        self, original: Function, cv: int, mtx: int, sec: int, nsec: int
    ) -> Any:
        self._count()
        if sec < 0 or not 0 <= nsec < BILLION:
            return original(cv, mtx, sec, nsec)
        rate = self.courses[ABSMONO].rate
        wanted = min(self._scaled(sec * BILLION + nsec, rate), LATEST)
        self.strike(f"a wait of {sec}.{nsec:09} s becomes {wanted / BILLION:.9f} s")
        return original(cv, mtx, *divmod(wanted, BILLION))

    def _scaled(self, span: int, rate: float) -> int:
        """How long the host has to wait for ``span`` nanoseconds."""
        if self.sleep == rate:
            return span
        return round(span / rate * self.sleep)


def read_skew(values: dict[str, Any], text: str) -> Skew:
    """The clock fault of settings that `READERS` have read."""

    def course(name: str, **more: Any) -> Course:
        for key in ("offset", "rate"):
            for full in (key, f"{name}.{key}"):  # its own wins
                if full in values:
                    more[key] = values[full]
        return Course(**more)

    wall = course("wall", start=values.get("start"))
    return Skew(wall, course("mono"), values.get("sleep", 1.0), text)
