"""The link over a DPDK port: `rumphyper.link.dpdk` opens it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from typing_extensions import Buffer

from rumphyper.dpdk.bpf import Program
from rumphyper.dpdk.bpfrun import Attached
from rumphyper.dpdk.pool import Pool
from rumphyper.dpdk.port import Port
from rumphyper.dpdk.queues import RxQueue, TxQueue
from rumphyper.errors import HostError, LinkEndedError
from rumphyper.link.base import BATCH, Link
from rumphyper.link.dpdk_feed import Feed
from rumphyper.link.dpdk_forward import Mover
from rumphyper.link.dpdk_send import Sender
from rumphyper.link.dpdk_wait import LONGEST, Wait

T = TypeVar("T")

RECHECK = 0.25
"""Seconds between two looks whether the device is there, for who does not wait."""


class DpdkLink(Sender):
    """One DPDK port with all its queues.

    Frames go out by the first transmit queue and come from all receive queues in
    turn. ``counters.dropped`` counts what the device had no mbuf or descriptor
    for, as of the last look at `stats`, or of the end.
    """

    def __init__(
        self,
        linkstr: str,
        port: Port,
        pools: tuple[Pool, Pool],
        held: contextlib.ExitStack,
        *,
        queues: tuple[int, int],
        mac: bytes,
        mtu: int,
        spin: float,
    ) -> None:
        """Take over a port that is configured, and ``held``, which frees it.

        It does so even when this fails.
        """
        super().__init__(linkstr, port, pools[1], mac, mtu)
        self.rx_pool = pools[0]
        self._held = held
        self._counts = queues
        self._turn = 0
        self._there_until = 0.0
        self._attached = contextlib.ExitStack()
        self._feed: Feed | None = None
        self.rx: list[RxQueue] = []
        """The receive queues, while the port is started."""

        self._visitors: set[int] = set()
        self._wait = Wait(port, queues[0], spin)
        held.callback(self._wait.close)
        try:
            self.start()
        except BaseException:
            self._closed = True
            held.close()
            raise
        self._eal.closing.append(self.close)

    # -- starting and stopping -------------------------------------------------

    def start(self) -> None:
        """Let frames pass again after `stop`. Raises HostError."""
        with self._visit(), self.tx_lock:
            self.check_open()
            if not self.port.started:
                self.port.start()
                self._wait.attach()
                rx, tx = self._counts
                self.rx = [RxQueue(self.port, queue) for queue in range(rx)]
                self.tx = [TxQueue(self.port, q, self.tx_pool) for q in range(tx)]

    def stop(self) -> None:
        """Stop the port; what others send is lost meanwhile, `send` takes nothing.

        Frames that `recv_views` has lent are not valid any more.
        """
        with self._visit(), self.tx_lock:
            self.check_open()
            self._stop()

    @contextlib.contextmanager
    def _visit(self) -> Iterator[None]:
        """Hold the receiver's lock, which one who waits lets go of for this."""
        me = threading.get_ident()
        self._visitors.add(me)
        try:
            with self.rx_lock:
                self._visitors.discard(me)
                yield
        finally:
            self._visitors.discard(me)

    def _step_aside(self) -> None:
        """Let those have the receiver's lock that ask for it."""
        self.rx_lock.release()
        try:
            while self._visitors and not self._closed:
                time.sleep(LONGEST)
        finally:
            self.rx_lock.acquire()

    def _stop(self) -> None:
        self._wait.detach()
        for receiver in self.rx:
            receiver.close()
        for sender in self.tx:
            sender.close()
        self.rx, self.tx = [], []
        self.port.stop()

    def rewrite(self, program: Program | None) -> None:
        """Let DPDK run a program on all that is received from now on, or none.

        Raises HostError when it refuses the program.
        """
        with self._visit():
            self.check_open()
            self._attached.close()
            if program is not None:
                for queue in range(self._counts[0]):
                    attached = Attached(self.port, queue, program)
                    self._attached.callback(attached.close)

    def stats(self) -> dict[str, int]:
        """The port's own counters; what it dropped goes into `counters`, too."""
        self.check_open()
        return self._count_dropped()

    def _count_dropped(self) -> dict[str, int]:
        stats = self.port.stats()
        self.counters.dropped = stats["imissed"] + stats["rx_nombuf"]
        return stats

    # -- receiving ---------------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take copies of frames. Raises LinkClosedError, LinkEndedError."""
        return self._take(RxQueue.copies, limit, timeout)

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`, but lends the mbufs; a frame of several is copied.

        A view that outlives the next call shows other frames, or crashes once
        the link is closed.
        """
        return self._take(RxQueue.views, limit, timeout)

    def _take(
        self,
        frames: Callable[[RxQueue], list[T]],
        limit: int,
        timeout: float | None,
    ) -> list[T]:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self.check_open()
            self._eal.enter()
            found = self._look(frames, limit)
            if found:
                return found
            if timeout == 0:
                now = time.monotonic()
                if now >= self._there_until:
                    self._there_until = now + RECHECK
                    self._check_there()
                return found
            wait = self._wait
            deadline = None if timeout is None else time.monotonic() + timeout
            left = timeout
            wait.begin()
            try:
                while not found:
                    wait.pause(left)
                    if self._visitors:
                        self._step_aside()
                    self.check_open()
                    found = self._look(frames, limit)
                    if not found:
                        self._check_there()
                    if deadline is not None:
                        left = deadline - time.monotonic()
                        if left <= 0:
                            break
            finally:
                wait.end(bool(found))
            return found

    def _check_there(self) -> None:
        super()._check_there()
        if self._wait.ended:
            cause = "its TAP is gone: somebody has deleted the interface"
            raise LinkEndedError(self.linkstr, cause, "open it again")

    def _look(self, frames: Callable[[RxQueue], list[T]], limit: int) -> list[T]:
        """What there is; what a feed has taken already comes first."""
        if self._feed is not None and self._feed.frames:
            found: list[Any] = self._feed.take(limit)
        else:
            found = self._poll(frames, limit)
        counters = self.counters
        counters.received += len(found)
        counters.received_bytes += sum(map(len, found))
        return found

    def _poll(
        self, frames: Callable[[RxQueue], list[T]], limit: int = BATCH
    ) -> list[T]:
        """What one receive queue has, another one first each time."""
        count = len(self.rx)
        for step in range(count):
            queue = self.rx[(self._turn + step) % count]
            if queue.receive(limit):
                self._turn = (self._turn + step + 1) % count
                return frames(queue)
        return []

    def found(self, limit: int) -> list[bytes]:
        """What a thread has received for `fileno`; none is until `look_on`.

        For who takes mbufs out of `rx`, with `rx_lock` held. Raises LinkClosedError.
        """
        self.check_open()
        self._eal.enter()
        feed = self._feed
        frames = feed.take(limit, pause=True) if feed is not None else []
        self.counters.received += len(frames)
        self.counters.received_bytes += sum(map(len, frames))
        return frames

    def look_on(self) -> None:
        """There is no frame left in `rx`. Raises LinkEndedError."""
        if self._feed is not None:
            self._feed.look_on()
        self._check_there()

    def forward_to(
        self, target: Link
    ) -> Callable[[int], tuple[int, Sequence[bytes]]] | None:
        """See `Link.forward_to`: to another port of DPDK."""
        if not isinstance(target, DpdkLink):
            return None
        mover = Mover.between(self, target)
        return None if mover is None else mover.move

    def fileno(self) -> int:
        """Readable when `recv` would not wait; another one after `start`.

        Where the driver has no descriptor for it a thread begins to look for frames.
        """
        with self._visit():
            self.check_open()
            if self._wait.always_on:
                return self._wait.fd
            if self._feed is None:
                self._feed = Feed(self.rx_lock, lambda: self._poll(RxQueue.copies))
                self._held.callback(self._feed.close)
            return self._feed.fd

    # -- the end -------------------------------------------------------------------

    def _wake(self) -> None:
        if self._feed is not None:
            self._feed.stop()
        self._wait.wake()

    def _release(self) -> None:
        with contextlib.suppress(ValueError):
            self._eal.closing.remove(self.close)
        with self._held:  # the port is closed even if it cannot be stopped
            for queue in self.rx:
                queue.drain(self.tx_pool.count)
            with contextlib.suppress(HostError):  # it may be gone
                self._count_dropped()
            self._attached.close()
            self._stop()
