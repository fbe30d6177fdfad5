"""What Xen's front and back end have in common as links.

The link outlives its connections: `Rings` come and go as the other side does,
which its state in xenstore tells. Whoever receives looks after that; a sender
does where nobody receives. While there is no connection, nothing is taken and
nothing arrives.
"""

from __future__ import annotations

import abc
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from typing_extensions import Buffer

from rumphyper.errors import LinkError, RumphyperError
from rumphyper.link.base import BATCH, Link
from rumphyper.link.waiter import Waiter
from rumphyper.link.xen_rings import Rings
from rumphyper.ring.netif_abi import MOST_OCTETS, PAGE
from rumphyper.xen.bus import State, state, switch
from rumphyper.xen.evtchn import EventChannels
from rumphyper.xen.xenstore import Watch, Xenstore

T = TypeVar("T")
PARTING = 3.0
"""Seconds that closing waits for the other side to let go."""
LONGEST_MTU = MOST_OCTETS - 18


class XenLink(Link):
    """One end of a vif: ``own`` is its folder in xenstore, ``other`` the peer's."""

    def __init__(
        self, linkstr: str, store: Xenstore, own: str, other: str, mac: bytes, mtu: int
    ) -> None:
        """Take over ``store``, which is closed even when this fails."""
        super().__init__(linkstr, mac, mtu)
        self.own, self.other = own, other
        self.store = store
        self.connects = 0
        """How often a connection was made."""
        self._rings: Rings | None = None
        self._up = False
        """Whether frames pass."""
        self._failure: RumphyperError | None = None
        self._held = contextlib.ExitStack()
        self._held.callback(store.close)
        with contextlib.ExitStack() as undo:
            undo.callback(self._held.close)
            self._watch: Watch = store.watch(f"{other}/state")
            self.events = self._held.enter_context(EventChannels())
            self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._held.callback(os.close, self._alarm)
            self._ringing = threading.Lock()
            self._rung = False
            self._epoll = select.epoll()
            self._held.callback(self._epoll.close)
            for fd in (self.events.fileno(), store.fileno(), self._alarm):
                self._epoll.register(fd, select.EPOLLIN)
            self._waiter = Waiter(self._epoll.fileno())
            self._held.callback(self._waiter.close)
            undo.pop_all()

    @property
    def connected(self) -> bool:
        """Whether frames pass now."""
        return self._up

    # -- the connection ----------------------------------------------------------

    @abc.abstractmethod
    def _step(self, theirs: State) -> None:
        """Do what the other side's state asks for; with both locks held."""

    def _say(self, new: State) -> None:
        """Set this end's state."""
        switch(self.store, self.own, new)

    def _connected(self) -> None:
        assert self._rings is not None
        self._up = True
        self.connects += 1
        self._rings.notify_both()
        self._ring()

    def _disconnect(self) -> None:
        """Give up the connection there is, and its pages and ports."""
        self._up = False
        rings, self._rings = self._rings, None
        if rings is not None:
            self._count_dropped(rings)
            rings.close()

    def _attend(self) -> None:
        """Look what has happened, without waiting; with ``rx_lock`` held."""
        for fd, _ in self._epoll.poll(0):
            if fd == self.events.fileno():
                self.events.drain()
            elif fd != self._alarm:
                self.store.pump()
        # What a step asks xenstore may bring the next change with the answer.
        while self._watch.queue:
            self._watch.changes()
            with self.tx_lock:
                self._step(state(self.store, self.other))

    def await_states(self, states: Sequence[State], timeout: float) -> State:
        """Wait until the other side is in one of ``states``; return where it is."""
        end = time.monotonic() + timeout
        while True:
            self._watch.changes()
            theirs = state(self.store, self.other)
            left = end - time.monotonic()
            if theirs in states or left <= 0:
                return theirs
            self._watch.wait(left)

    def start(self, timeout: float) -> None:
        """Wait until frames pass. LinkError: they do not in so many seconds."""
        end = time.monotonic() + timeout
        with self.rx_lock:
            while not self._up:
                self._check()
                self._guarded(self._attend)
                left = end - time.monotonic()
                if left <= 0 and not self._up:
                    raise self._late(timeout)
                if not self._up:
                    self._waiter.wait(left)

    def _late(self, timeout: float) -> LinkError:
        theirs, mine = (state(self.store, at) for at in (self.other, self.own))
        cause = (
            f"the other side did not connect within {timeout:g} s: it is in the state "
            f"{theirs.name}, this side in {mine.name}"
        )
        return LinkError(self.linkstr, cause, f"see {self.other} in xenstore")

    # -- errors ------------------------------------------------------------------

    def _guarded(self, work: Callable[[], T]) -> T:
        """Do something; an error of it is the end of the connection, and stays."""
        try:
            return work()
        except RumphyperError as error:
            self._failure = error
            self._ring()  # whoever receives has to see it
            self._part()
            raise

    def _part(self) -> None:
        """Give up for good, unless another thread is at it, which then does so."""
        if not self.rx_lock.acquire(blocking=False):
            return
        try:
            with self.tx_lock, contextlib.suppress(RumphyperError):
                if self._rings is not None:
                    self._disconnect()
                    self._say(State.CLOSED)
        finally:
            self.rx_lock.release()

    def _check(self) -> None:
        self.check_open()
        if self._failure is not None:
            self._part()
            raise self._failure

    def _ring(self) -> None:
        """Have `fileno` readable and waits end, until `_quiet`."""
        with self._ringing:
            if not self._rung:
                self._rung = True
                os.eventfd_write(self._alarm, 1)

    def _quiet(self) -> None:
        with self._ringing:  # a sender's failure must not be read away
            if self._rung and self._failure is None:
                self._rung = False
                os.eventfd_read(self._alarm)

    # -- frames --------------------------------------------------------------------

    def send(self, frames: Sequence[Buffer]) -> int:
        """Hand over a batch; nothing is taken while there is no connection.

        Raises FrameError, LinkClosedError, CorruptError (the other side broke the
        protocol; the link is useless then), HostError, LinkEndedError.
        """
        self.check_frames(frames)
        with self.tx_lock:
            self._check()
            taken = self._guarded(lambda: self._send(frames))
            counters = self.counters
            counters.sent += taken
            counters.sent_bytes += sum(memoryview(f).nbytes for f in frames[:taken])
        if taken < len(frames) and self.rx_lock.acquire(blocking=False):
            try:  # nobody else looks after the connection
                if not self._closed:
                    with contextlib.suppress(RumphyperError):  # the next call's
                        self._guarded(self._attend)
            finally:
                self.rx_lock.release()
        return taken

    def _send(self, frames: Sequence[Buffer]) -> int:
        rings = self._rings
        if rings is None or not self._up:
            return 0
        taken = rings.send(frames)
        self._count_dropped(rings)
        return taken

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take frames, which are copies.

        Raises LinkClosedError, CorruptError (the other side broke the protocol;
        the link is useless then), HostError, LinkEndedError (the vif is gone).
        """
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self._check()
            frames = self._guarded(lambda: self._look(limit))
            if frames:
                return frames
            deadline = None if timeout is None else time.monotonic() + timeout
            while True:
                self._guarded(self._attend)
                frames = self._guarded(lambda: self._look(limit))
                left = None if deadline is None else deadline - time.monotonic()
                if frames or (left is not None and left <= 0):
                    return frames
                self._waiter.wait(left)
                self._check()

    def _look(self, limit: int) -> list[bytes]:
        """Frames that are there; `fileno` then says whether there are more."""
        rings = self._rings
        if rings is None or not self._up:
            self._quiet()
            return []
        frames = rings.take(limit)
        if rings.arm():
            self._ring()
        else:
            self._quiet()
        self._count_dropped(rings)
        counters = self.counters
        counters.received += len(frames)
        counters.received_bytes += sum(map(len, frames))
        return frames

    def _count_dropped(self, rings: Rings) -> None:
        dropped, rings.dropped = rings.dropped, 0
        self.counters.dropped += dropped

    def fileno(self) -> int:
        """Readable when `recv` would not wait, and when it has to look after things.

        With a ``timeout`` of 0 it may find nothing then.
        """
        self.check_open()
        return self._waiter.fd

    # -- the end -------------------------------------------------------------------

    def _wake(self) -> None:
        self._waiter.wake()

    def _release(self) -> None:
        try:
            with contextlib.suppress(RumphyperError):
                self._farewell()
        finally:
            self._disconnect()
            self._held.close()

    @abc.abstractmethod
    def _farewell(self) -> None:
        """Part from the other side in order; errors do not matter any more."""


def fits(linkstr: str, mtu: int, several: bool) -> None:
    """LinkError: the other side takes no frames of so many octets."""
    if mtu + 18 > PAGE and not several:
        cause = f"an MTU of {mtu} needs feature-sg, which the other side does not have"
        raise LinkError(linkstr, cause, f"take one of at most {PAGE - 18}")
