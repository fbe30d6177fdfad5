"""A bad wire in front of any link: ``faulty:drop=1%,seed=7:tap:tap0``.

Frames are dropped, corrupted, doubled, delayed and overtaken, by dice that are
seeded. It stands before a link as a link of its own, so whatever takes a
linkstr can have one; two of them, one before the other, treat the directions
differently. See docs/faults.md.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections import deque
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.errors import HostError, LinkEndedError, LinkstrError, RumphyperError
from rumphyper.host.timerfd import Timer
from rumphyper.link.base import BATCH, Link
from rumphyper.link.faulty_lane import Lane, Rates, Tally
from rumphyper.link.linkstr import open_link
from rumphyper.units import Reader, delay, probability, seed, settings

FORM = "faulty:SETTING[,SETTING...]:LINKSTR"
PATIENCE = 1.0
"""Seconds that closing waits for a send in another thread, to send what is late."""

GOOD = Rates()
RETRY = 0.001
"""Seconds until frames are offered again to a link whose queue was full."""


def _way(text: str) -> str:
    if text not in ("in", "out", "both"):
        raise ValueError("it is in, out or both")
    return text


READERS: dict[str, Reader] = {
    **dict.fromkeys(("drop", "corrupt", "duplicate", "reorder", "delay"), probability),
    "by": delay,
    "seed": seed,
    "way": _way,
}
"""The settings: those of `Rates`, and ``way``: which direction they are for."""


class FaultyLink(Link):
    """Does to the frames of ``link`` what ``inward`` and ``outward`` say.

    The counters count what its user sent and received; ``link.counters`` what
    the wire carried; `received` and `sent` say what was done. Frames that are
    late when it is closed go out at once. Closing it closes ``link``.
    """

    def __init__(
        self,
        link: Link,
        inward: Rates = GOOD,
        outward: Rates = GOOD,
        linkstr: str = "",
    ) -> None:
        super().__init__(linkstr or link.linkstr, link.mac, link.mtu)
        self.link = link
        self._in = Lane(inward, "in")
        self._out = Lane(outward, "out")
        self._arrived: deque[bytes] = deque()
        self._full = False
        self._late = threading.Condition(self.tx_lock)
        self._sender: threading.Thread | None = None
        self._opened = contextlib.ExitStack()
        self._timer: Timer | None = None
        self._epoll: select.epoll | None = None

    @property
    def max_frame(self) -> int:
        """That of the link behind it."""
        return self.link.max_frame

    @property
    def received(self) -> Tally:
        """What was done to frames on their way in."""
        return self._in.tally

    @property
    def sent(self) -> Tally:
        """What was done to frames on their way out."""
        return self._out.tally

    def send(self, frames: Sequence[Buffer]) -> int:
        """Send what the dice let through; all frames are taken, unless it is full."""
        with self.tx_lock:
            self.check_open()
            self.check_frames(frames)
            if self._full:
                return 0
            now = time.monotonic()
            self._hand_on(self._out.pass_on(frames, now), now)
            self.counters.sent += len(frames)
            self.counters.sent_bytes += sum(memoryview(f).nbytes for f in frames)
            self._count_drops()
            return len(frames)

    def _hand_on(self, frames: Sequence[Buffer], now: float) -> None:
        """Give frames to the link; what it does not take waits in the lane."""
        taken = self.link.send(frames) if frames else 0
        self._full = taken < len(frames)
        if self._full:
            self._out.hold(frames[taken:], now + RETRY)
        if self._out.next_due() is not None:
            if self._sender is None:
                self._sender = self._start_sender()
            self._late.notify()

    def _start_sender(self) -> threading.Thread:
        sender = threading.Thread(
            target=self._send_late, name=self.linkstr, daemon=True
        )
        try:
            sender.start()
        except RuntimeError as error:
            raise HostError(self.linkstr, str(error), "end other threads") from None
        return sender

    def _send_late(self) -> None:
        """What the sender's thread does: send frames when their time has come."""
        with self._late:
            while not self._closed:
                due, now = self._out.next_due(), time.monotonic()
                if due is None or due > now:
                    self._late.wait(None if due is None else due - now)
                    continue
                try:
                    self._hand_on(self._out.due(now), now)
                except RumphyperError:  # the next send of the link says it again
                    self._full = False

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Receive what the dice let through, each frame when its time has come."""
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        end = None if timeout is None else time.monotonic() + timeout
        with self.rx_lock:
            while True:
                self.check_open()
                self._arrive(self._in.due(time.monotonic()))
                if self._arrived or not self._fetch(limit, end):
                    break
            arrived = self._arrived
            frames = [arrived.popleft() for _ in range(min(limit, len(arrived)))]
            self._show()
            self.counters.received += len(frames)
            self.counters.received_bytes += sum(map(len, frames))
            self._count_drops()
            return frames

    def _fetch(self, limit: int, end: float | None) -> bool:
        """Wait for the link or for a late frame; false when ``end`` has come."""
        now = time.monotonic()
        due = self._in.next_due()
        times = [moment for moment in (end, due) if moment is not None]
        wait = max(0.0, min(times) - now) if times else None
        try:
            frames = self.link.recv(limit, wait)
        except LinkEndedError:
            if due is None:
                raise
            self._arrive(self._in.due(float("inf")))
            return True
        now = time.monotonic()
        self._arrive(self._in.pass_on(frames, now))
        return bool(frames) or end is None or now < end

    def _arrive(self, frames: Sequence[Buffer]) -> None:
        self._arrived += map(bytes, frames)

    def _show(self) -> None:
        """Make `fileno` readable when frames are here, or by when they are due."""
        if self._timer is None:
            return
        due = time.monotonic() if self._arrived else self._in.next_due()
        self._timer.arm(None if due is None else max(0.0, due - time.monotonic()))

    def _count_drops(self) -> None:
        self.counters.dropped = self.received.dropped + self.sent.dropped

    def fileno(self) -> int:
        """Readable when `recv` would not wait, unless the dice drop what came."""
        with self.rx_lock:
            self.check_open()
            if self._epoll is None:
                timer = self._opened.enter_context(contextlib.closing(Timer()))
                epoll = self._opened.enter_context(select.epoll())
                epoll.register(timer.fileno(), select.EPOLLIN)
                epoll.register(self.link.fileno(), select.EPOLLIN)
                self._timer, self._epoll = timer, epoll
                self._show()
            return self._epoll.fileno()

    def close(self) -> None:
        """Send what is late, then close this and the link behind it. Idempotent."""
        if self.tx_lock.acquire(timeout=PATIENCE):
            try:
                frames = [] if self._closed else self._out.due(float("inf"))
                if frames:
                    self.link.send(frames)
            except RumphyperError:
                pass
            finally:
                self.tx_lock.release()
        super().close()

    def _wake(self) -> None:
        self.link.close()
        with self._late:
            self._late.notify()

    def _release(self) -> None:
        self._opened.close()


def open_faulty(rest: str, /, **options: object) -> FaultyLink:
    """Open ``SETTING[,SETTING...]:LINKSTR``; the options are the inner link's.

    Raises LinkstrError for settings that cannot be, and what opening the link
    behind it raises.
    """
    text, colon, inner = rest.partition(":")
    linkstr = f"faulty:{rest}"
    if not colon or not inner:
        raise LinkstrError(repr(linkstr), "no linkstr behind it", f"the form is {FORM}")
    try:
        values = settings(text, READERS)
    except ValueError as error:
        known = ", ".join(READERS)
        raise LinkstrError(
            repr(linkstr), str(error), f"settings: {known}, as in {FORM}"
        ) from None
    way = values.pop("way", "both")
    rates = Rates(**values)
    link = open_link(inner, **options)
    try:
        return FaultyLink(
            link,
            GOOD if way == "out" else rates,
            GOOD if way == "in" else rates,
            linkstr,
        )
    except BaseException:
        link.close()
        raise
