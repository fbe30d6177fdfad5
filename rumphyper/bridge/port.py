"""One port of a bridge: a link, its life and its counters."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import attrs

from rumphyper.bridge import shortcut
from rumphyper.bridge.outlet import Outlet, Report
from rumphyper.errors import LinkEndedError, RumphyperError
from rumphyper.link.base import Counters, Link

BATCH = 256
"""Frames that are taken from a port before the next one has its turn."""

FIRST_RETRY = 0.1
LAST_RETRY = 5.0
"""Seconds until a dead link is opened again: twice as long each time it fails."""


class Port(Outlet):
    """A link as one end of a bridge.

    ``opener`` opens the link, now and after it has died. ``wait`` keeps frames
    for a full link; without it they are dropped and counted. ``report`` is told
    when the link dies, refuses frames, and works again.
    """

    def __init__(
        self,
        number: int,
        linkstr: str,
        opener: Callable[[], Link],
        *,
        wait: bool,
        report: Report,
    ) -> None:
        super().__init__(linkstr, wait=wait, report=report)
        self.number = number
        self.shut = False
        """Whether it is part of a loop and kept out."""

        self.ended = False
        """Whether its link is over, as a file is: it does not come back."""

        self.sends = True
        """Whether frames may go out by it: not so where a file is read."""

        self.before_close: Callable[[int], None] = lambda number: None
        """Told the number when the link is about to be closed."""

        self.reopened = 0
        self.retry_at = float("inf")
        """When the dead link is to be opened again."""

        self._opener = opener
        self._before = Counters()
        self._delay = FIRST_RETRY
        self._opened_at = float("-inf")
        self._attach(opener())

    @property
    def alive(self) -> bool:
        return self.link is not None

    def take(self, limit: int, now: float) -> Sequence[bytes]:
        """Frames that have arrived, without waiting; none when the link dies."""
        link = self.link
        if link is None:
            return ()
        try:
            return link.recv(limit, 0)
        except (RumphyperError, OSError) as error:
            self.failed(error, now)
            return ()

    # -- the link's life -----------------------------------------------------

    def die(self, error: Exception, now: float) -> None:
        """Close the link after an error, and say so."""
        link, self.link, self.fd = self.link, None, -1
        if link is None:
            return
        self.changed = True
        self.ended = isinstance(error, LinkEndedError) and shortcut.is_capture(link)
        self._report(f"{'over' if self.ended else 'dead'}: {error}")
        if now - self._opened_at >= LAST_RETRY:  # it has worked for a while
            self._delay = FIRST_RETRY
        self.retry_at = float("inf") if self.ended else now + self._next_delay()
        self._refusing = False
        self.give_up_waiting()
        self.before_close(self.number)
        with contextlib.suppress(RumphyperError, OSError):
            link.close()
        self._before = self._total(link)

    def reopen(self, now: float) -> bool:
        """Open the link once more; whether it is there again."""
        try:
            link = self._opener()
        except (RumphyperError, OSError):
            self.retry_at = now + self._next_delay()
            return False
        self._attach(link)
        self.retry_at = float("inf")
        self.reopened += 1
        self._opened_at = now
        self._report(f"{self.linkstr}: open again")
        return True

    def _next_delay(self) -> float:
        """Seconds to wait now; the next time twice as long."""
        delay, self._delay = self._delay, min(2 * self._delay, LAST_RETRY)
        return delay

    def _attach(self, link: Link) -> None:
        try:
            self.fd = link.fileno()
            self.wire = shortcut.wire(link)
            self.sends = not shortcut.is_capture(link)
        except BaseException:
            link.close()
            raise
        self.link = link
        self.changed = True

    def close(self) -> None:
        """Close the link, which keeps its counters. Raises what closing raises."""
        link, self.link, self.fd = self.link, None, -1
        if link is not None:
            self.before_close(self.number)
            try:
                link.close()
            finally:
                self._before = self._total(link)

    # -- figures -------------------------------------------------------------

    def _total(self, link: Link | None) -> Counters:
        """The counters of all links that this port has had."""
        if link is None:
            return self._before
        now, before = link.counters.as_dict(), self._before.as_dict()
        return Counters(**{name: now[name] + before[name] for name in now})

    @property
    def state(self) -> str:
        if self.link is not None:
            return "shut" if self.shut else "up"
        return "over" if self.ended else "dead"

    def as_dict(self) -> dict[str, object]:
        """The port's counters by name, for ``--json``."""
        return {
            "link": self.linkstr,
            "state": self.state,
            **self._total(self.link).as_dict(),
            **attrs.asdict(self.losses),
            "waited": self.waited,
            "reopened": self.reopened,
        }
