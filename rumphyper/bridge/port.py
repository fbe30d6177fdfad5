"""One port of a bridge: a link, what waits for it, and what became of its frames."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from rumphyper.bridge import shortcut
from rumphyper.errors import (
    CorruptError,
    FrameError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    RumphyperError,
)
from rumphyper.link.base import Counters, Link
from rumphyper.link.tap_forward import Slots, SlotWriter

BATCH = 256
"""Frames that are taken from a port before the next one has its turn."""

FATAL = (LinkEndedError, LinkClosedError, CorruptError, LinkstrError)
"""Errors of links after which they are of no use; the other ones may pass."""

FIRST_RETRY = 0.1
LAST_RETRY = 5.0
"""Seconds until a dead link is opened again: twice as long each time it fails."""

Report = Callable[[str], None]
"""Takes a line of text about something that has happened."""


@attrs.define(eq=False)
class Losses:
    """Frames for a port that did not go out by it, and why."""

    full: int = 0
    """The link's queue had no room."""

    oversize: int = 0
    """They were longer (or shorter) than what the link carries."""

    refused: int = 0
    """The link took nothing: its interface is down, or it only receives."""

    dead: int = 0
    """They waited for the link when it died."""


class Port:
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
        self.number = number
        self.linkstr = linkstr
        self.losses = Losses()
        self.owed = 0
        """Batches from here that wait for other ports: 0 when it may be read."""

        self.changed = True
        """Whether it has to be looked at whether it may still be read and used."""

        self.shut = False
        """Whether it is part of a loop and kept out."""

        self.ended = False
        """Whether its link is over, as a file is: it does not come back."""

        self.sends = True
        """Whether frames may go out by it: not so where a file is read."""

        self.before_close: Callable[[int], None] = lambda number: None
        """Told the number when the link is about to be closed."""

        self.waited = 0
        """Frames that had to wait for room in the link's queue."""

        self.reopened = 0
        self.retry_at = float("inf")
        """When the dead link is to be opened again."""

        self._opener = opener
        self._wait = wait
        self._report = report
        self._before = Counters()
        self.waiting: deque[tuple[Port, Sequence[bytes]]] = deque()
        """Batches for the link, with the ports that they came from."""

        self._refusing = False
        self._delay = FIRST_RETRY
        self.link: Link | None = None
        self._attach(opener())

    @property
    def alive(self) -> bool:
        return self.link is not None

    # -- frames --------------------------------------------------------------

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

    def give(self, frames: Sequence[bytes], source: Port, now: float) -> None:
        """Send frames that came from ``source``, or keep or drop them."""
        if self.waiting:
            self._hold(frames, source)
            return
        taken = self._send(frames, now)
        if taken < len(frames):
            self._keep_or_drop(frames[taken:], source)

    def give_slots(
        self, slots: Slots, writer: SlotWriter, source: Port, now: float
    ) -> bool:
        """Like `give` for frames that lie in slots; false when that cannot be."""
        if self.waiting or self.link is None:
            return False
        try:
            taken = writer.send()
        except (RumphyperError, OSError) as error:
            self.failed(error, now)
            self.losses.refused += len(slots.sizes)
            return True
        if taken is None:
            return False
        self._works_again(taken)
        if taken < len(slots.sizes):
            self._keep_or_drop(slots.copies(taken), source)
        return True

    def _keep_or_drop(self, frames: Sequence[bytes], source: Port) -> None:
        """What the link had no room for."""
        if self._wait and self.link is not None:
            self._hold(frames, source)
        else:
            self.losses.full += len(frames)

    def _hold(self, frames: Sequence[bytes], source: Port) -> None:
        self.waiting.append((source, frames))
        self.waited += len(frames)
        source.owed += 1
        source.changed = True

    def push(self, now: float) -> None:
        """Offer what waits to the link again."""
        waiting = self.waiting
        while waiting:
            source, frames = waiting[0]
            taken = self._send(frames, now)
            if not waiting:  # the link has died
                return
            if taken < len(frames):
                waiting[0] = (source, frames[taken:])
                return
            waiting.popleft()
            source.owed -= 1
            source.changed = True

    def probe(self, frame: bytes, now: float) -> None:
        """Send a frame of the bridge's own; what does not go out is no loss."""
        with contextlib.suppress(FrameError):
            if self.link is not None and not self.waiting:
                self._try(self.link, [frame], now)

    def _send(self, frames: Sequence[bytes], now: float) -> int:
        """Send frames; how many need no further care, sent or lost."""
        link = self.link
        if link is None:
            return len(frames)
        try:
            return self._try(link, frames, now)
        except FrameError:
            return self._send_each(link, frames, now)

    def _send_each(self, link: Link, frames: Sequence[bytes], now: float) -> int:
        """Send frames one by one, without those that the link does not carry."""
        for index, frame in enumerate(frames):
            try:
                if not self._try(link, [frame], now):
                    return index
            except FrameError:
                self.losses.oversize += 1
        return len(frames)

    def _try(self, link: Link, frames: Sequence[bytes], now: float) -> int:
        try:
            taken = link.send(frames)
        except FrameError:
            raise
        except (RumphyperError, OSError) as error:
            self.failed(error, now)
            if self.link is not None:
                self.losses.refused += len(frames)
            return len(frames)
        self._works_again(taken)
        return taken

    def _works_again(self, taken: int) -> None:
        if self._refusing and taken:
            self._refusing = False
            self._report(f"{self.linkstr}: frames go again")

    def failed(self, error: Exception, now: float) -> None:
        """Report an error of the link, which is its end unless it may pass."""
        if not isinstance(error, LinkError) or isinstance(error, FATAL):
            self.die(error, now)
        elif not self._refusing:
            self._refusing = True
            self._report(f"no frames for now: {error}")

    # -- the link's life -----------------------------------------------------

    def die(self, error: Exception, now: float) -> None:
        """Close the link after an error, and say so."""
        link, self.link, self.fd = self.link, None, -1
        if link is None:
            return
        self.changed = True
        self.ended = isinstance(error, LinkEndedError) and shortcut.is_capture(link)
        self._report(f"{'over' if self.ended else 'dead'}: {error}")
        self.retry_at = float("inf") if self.ended else now + self._delay
        self._refusing = False
        for source, frames in self.waiting:
            source.owed -= 1
            source.changed = True
            self.losses.dead += len(frames)
        self.waiting.clear()
        self.before_close(self.number)
        with contextlib.suppress(RumphyperError, OSError):
            link.close()
        self._before = self._total(link)

    def reopen(self, now: float) -> bool:
        """Open the link once more; whether it is there again."""
        try:
            link = self._opener()
        except (RumphyperError, OSError):
            self._delay = min(2 * self._delay, LAST_RETRY)
            self.retry_at = now + self._delay
            return False
        self._attach(link)
        self.retry_at = float("inf")
        self.reopened += 1
        self._delay = FIRST_RETRY
        self._report(f"{self.linkstr}: open again")
        return True

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
