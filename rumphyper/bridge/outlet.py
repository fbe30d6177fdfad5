"""The sending side of a bridge's port: what waits for its link, and what is lost."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from rumphyper.errors import (
    CorruptError,
    FrameError,
    LinkClosedError,
    LinkEndedError,
    LinkError,
    LinkstrError,
    RumphyperError,
)
from rumphyper.link.base import Link
from rumphyper.link.tap_forward import Slots, SlotWriter

FATAL = (LinkEndedError, LinkClosedError, CorruptError, LinkstrError)
"""Errors of links after which they are of no use; the other ones may pass."""

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
    """They waited for the link, or were on their way, when it died."""


class Outlet(abc.ABC):
    """Sends frames by ``link``, while there is one.

    ``wait`` keeps frames for a full link; without it they are dropped and
    counted. ``report`` is told when the link refuses frames, and works again.
    """

    link: Link | None

    def __init__(self, linkstr: str, *, wait: bool, report: Report) -> None:
        self.linkstr = linkstr
        self.losses = Losses()
        self.link = None
        self.waiting: deque[tuple[Outlet, Sequence[bytes]]] = deque()
        """Batches for the link, with the ports that they came from."""

        self.waited = 0
        """Frames that had to wait for room in the link's queue."""

        self.owed = 0
        """Batches from here that wait for other ports: 0 when it may be read."""

        self.changed = True
        """Whether it has to be looked at whether it may still be read and used."""

        self._wait = wait
        self._report = report
        self._refusing = False

    @abc.abstractmethod
    def die(self, error: Exception, now: float) -> None:
        """Close the link after an error, and say so."""

    def give(self, frames: Sequence[bytes], source: Outlet, now: float) -> None:
        """Send frames that came from ``source``, or keep or drop them."""
        if self.waiting:
            self._hold(frames, source)
            return
        taken = self._send(frames, now)
        if taken < len(frames):
            self._keep_or_drop(frames[taken:], source)

    def give_slots(
        self, slots: Slots, writer: SlotWriter, source: Outlet, now: float
    ) -> bool:
        """Like `give` for frames that lie in slots; false when that cannot be."""
        if self.waiting or self.link is None:
            return False
        try:
            taken = writer.send()
        except (RumphyperError, OSError) as error:
            self._failed_to_send(slots.count, error, now)
            return True
        if taken is None:
            return False
        self._works_again(taken)
        if taken < slots.count:
            self._keep_or_drop(slots.copies(taken), source)
        return True

    def _keep_or_drop(self, frames: Sequence[bytes], source: Outlet) -> None:
        """What the link had no room for."""
        if self._wait and self.link is not None:
            self._hold(frames, source)
        else:
            self.losses.full += len(frames)

    def _hold(self, frames: Sequence[bytes], source: Outlet) -> None:
        self.waiting.append((source, frames))
        self.waited += len(frames)
        source.owed += 1
        source.changed = True

    def push(self, now: float) -> None:
        """Offer what waits to the link again."""
        while self.waiting:
            source, frames = self.waiting.popleft()
            taken = self._send(frames, now)
            if taken < len(frames):
                self.waiting.appendleft((source, frames[taken:]))
                return
            source.owed -= 1
            source.changed = True

    def probe(self, frame: bytes, now: float) -> None:
        """Send a frame of the bridge's own; what does not go out is no loss."""
        if self.link is None or self.waiting:
            return
        try:
            self.link.send([frame])
        except FrameError:
            pass
        except (RumphyperError, OSError) as error:
            self.failed(error, now)

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
            self._failed_to_send(len(frames), error, now)
            return len(frames)
        self._works_again(taken)
        return taken

    def _failed_to_send(self, count: int, error: Exception, now: float) -> None:
        self.failed(error, now)
        if self.link is None:
            self.losses.dead += count
        else:
            self.losses.refused += count

    def _works_again(self, taken: int) -> None:
        if self._refusing and taken:
            self._refusing = False
            self._report(f"{self.linkstr}: frames go again")

    def give_up_waiting(self) -> None:
        """Lose what waits: the link is gone."""
        for source, frames in self.waiting:
            source.owed -= 1
            source.changed = True
            self.losses.dead += len(frames)
        self.waiting.clear()

    def failed(self, error: Exception, now: float) -> None:
        """Report an error of the link, which is its end unless it may pass."""
        if not isinstance(error, LinkError) or isinstance(error, FATAL):
            self.die(error, now)
        elif not self._refusing:
            self._refusing = True
            self._report(f"no frames for now: {error}")
