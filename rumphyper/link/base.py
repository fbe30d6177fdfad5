"""The Link protocol: what every back end offers and promises.

A link is one end of something that carries Ethernet frames (without FCS). All
back ends speak in batches; a single frame is a batch of one.

Promises that every link keeps:

* ``send`` takes frames from the front of the batch and says how many it took.
  It copies what it takes: the caller's buffers are free when it returns. Fewer
  than all only when the link's queue is full; what was not taken is neither
  sent nor counted and may be offered again.
* A frame that the link cannot carry raises FrameError before anything of its
  batch is sent.
* ``recv`` returns frames that the caller owns. ``recv_views`` may lend buffers
  of the link instead: valid until the next ``recv``, ``recv_views`` or
  ``close`` of that link, never to be written to.
* One thread may send while another receives. Two threads that call the same
  one of the two are put in order by the link.
* ``close`` may be called from anywhere, any number of times. It wakes a blocked
  receiver, which raises LinkClosedError, and frees descriptors and mappings
  only when no call is under way: neither in another thread nor, for a signal's
  handler, below it.
"""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType

import attrs
from typing_extensions import Buffer, Self

from rumphyper.errors import FrameError, LinkClosedError, LinkEndedError

ETHER_HEADER = 14
"""Octets of destination, source and type: the shortest frame carried."""

VLAN_TAG = 4
ETHER_MTU = 1500
BATCH = 64
"""How many frames ``recv`` returns at most when it is not told."""


@attrs.define(eq=False)
class Counters:
    """What a link has carried since it was opened, in frames and octets."""

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: int = 0
    """Frames known to be lost at this end (lapped, cut off, no room)."""

    def as_dict(self) -> dict[str, int]:
        """The counters by name, for ``--json``."""
        return attrs.asdict(self)


class Link(abc.ABC):
    """One end of something that carries Ethernet frames in batches."""

    linkstr: str
    """The string that `open_link` opened."""

    mac: bytes
    """6 octets: an address for the station at this end (local by default)."""

    mtu: int
    """Octets of payload behind the Ethernet header, without a VLAN tag."""

    counters: Counters

    def __init__(self, linkstr: str, mac: bytes, mtu: int = ETHER_MTU) -> None:
        self.linkstr = linkstr
        self.mac = mac
        self.mtu = mtu
        self.counters = Counters()
        self.rx_lock = threading.RLock()
        self.tx_lock = threading.RLock()
        self._closed = False
        self._watchers: set[Callable[[], None]] = set()

    @property
    def max_frame(self) -> int:
        """The longest frame that the link carries, in octets."""
        return self.mtu + ETHER_HEADER + VLAN_TAG

    @abc.abstractmethod
    def send(self, frames: Sequence[Buffer]) -> int:
        """Hand over a batch without waiting; return how many were taken.

        Raises FrameError (nothing sent), LinkClosedError, LinkError.
        """

    @abc.abstractmethod
    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Return 1 to ``limit`` frames, or an empty list at the timeout.

        ``timeout`` is in seconds; None waits for ever, 0 does not wait.
        Raises LinkClosedError, LinkEndedError, LinkError.
        """

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like ``recv``, but the buffers may be lent (see this module's text)."""
        return self.recv(limit, timeout)

    @abc.abstractmethod
    def fileno(self) -> int:
        """A descriptor that is readable when ``recv`` would not wait.

        For select, poll, epoll and asyncio. Nobody but the link reads it.
        """

    def frame_fd(self) -> int | None:
        """A descriptor for callers that bypass the link, or None if there is none.

        It is non-blocking; each read(2) gives one whole frame, each writev(2)
        sends one. The link still owns it, but does not count what passes.
        """
        return None

    frame_header: int = 0
    """Octets of virtio-net header in front of each frame on `frame_fd`."""

    def forward_to(
        self, target: Link
    ) -> Callable[[int], tuple[int, Sequence[bytes]]] | None:
        """What moves frames from here to ``target`` without a copy, if that can be.

        It takes up to so many as its argument says and does not wait; it returns how
        many went, and copies of those that did not, which then are the caller's.
        Nobody else receives here meanwhile. Raises as `recv` does.
        """
        return None

    sends_in_bursts: bool = False
    """Whether what a kernel sends without a pause is gathered for `send`."""

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Wake whoever waits, then free everything the link holds. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for watcher in tuple(self._watchers):
            watcher()
        self._wake()
        if not self._is_inside():
            self._let_go()
            return
        # We are a signal's handler in the middle of a call, which goes on with its
        # descriptors when we return. Without a thread they last as long as we do.
        name = f"close {self.linkstr}"
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._let_go, name=name, daemon=True).start()

    def _is_inside(self) -> bool:
        """Whether the calling thread is in the middle of a call of this link."""
        for lock in (self.rx_lock, self.tx_lock):
            with contextlib.suppress(RuntimeError):
                threading.Condition(lock).notify()  # refuses who has not the lock
                return True
        return False

    def _let_go(self) -> None:
        with self.rx_lock, self.tx_lock:
            self._release()

    def when_closing(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called by `close`, before it frees anything.

        Returns a function that takes this back. Too late for a link that is
        `closed`: look at that afterwards.
        """
        self._watchers.add(call)
        return lambda: self._watchers.discard(call)

    @abc.abstractmethod
    def _wake(self) -> None:
        """Make a ``recv`` that waits in another thread look at ``closed``."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Free descriptors and mappings; called once, with both locks held."""

    def check_open(self) -> None:
        """Raise LinkClosedError when the link is closed."""
        if self._closed:
            raise LinkClosedError(self.linkstr, "the link is closed", "open it again")

    def check_frames(self, frames: Sequence[Buffer]) -> None:
        """Raise FrameError for the first frame that the link cannot carry."""
        longest = self.max_frame
        for index, frame in enumerate(frames):
            size = len(frame) if isinstance(frame, bytes) else memoryview(frame).nbytes
            if not ETHER_HEADER <= size <= longest:
                raise FrameError(
                    self.linkstr,
                    f"frame {index} of the batch has {size} octets, the link carries "
                    f"{ETHER_HEADER} to {longest}",
                    "cut the frame or raise the MTU",
                )

    def __iter__(self) -> Iterator[bytes]:
        """Every frame that arrives, until the link is closed or has ended."""
        while True:
            try:
                frames = self.recv()
            except (LinkClosedError, LinkEndedError):
                return
            yield from frames

    def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Batches of frames that arrive, in an event loop (see aio.py)."""
        from rumphyper.link.aio import Batches

        return Batches(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = " closed" if self._closed else ""
        return f"<{type(self).__name__} {self.linkstr}{state}>"
