"""The link over a TAP device that is open: `rumphyper.link.tap` opens it."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import Buffer

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.link.base import BATCH, ETHER_HEADER
from rumphyper.link.octets import OctetLink, StrangeBufferError
from rumphyper.link.tap_batch import BatchIo
from rumphyper.link.tap_choice import ways
from rumphyper.link.tap_io import (
    PlainIo,
    TapIo,
)
from rumphyper.link.tap_options import Io
from rumphyper.link.tap_queues import QueuesIo
from rumphyper.link.tap_super import SuperIo
from rumphyper.link.waiter import Waiter
from rumphyper.net.vnet import HEADER


class TapLink(OctetLink):
    """One TAP device, by one descriptor or by several queues.

    With several queues frames go out by the first, in order; what the host
    kernel sends is taken from all of them in turn.
    """

    def __init__(
        self,
        linkstr: str,
        fds: Sequence[int],
        *,
        name: str,
        mac: bytes,
        mtu: int,
        io: Io | Literal["superframes"] = "auto",
    ) -> None:
        """Take over ``fds``, which are closed even when this fails."""
        super().__init__(linkstr, mac, mtu)
        self.name = name
        """The interface's name, which the kernel may have chosen."""

        self.fallback = ""
        """Why it is not io_uring although ``io`` was ``auto``."""

        self._fds = tuple(fds)
        self._held = contextlib.ExitStack()
        for fd in self._fds:
            self._held.callback(os.close, fd)
        with contextlib.ExitStack() as undo:
            undo.callback(self._held.close)
            self._waiter = Waiter(self._watched())
            self._held.callback(self._waiter.close)
            self._io = self._make_io(io)
            self._held.callback(self._io.close)
            undo.pop_all()

    def _watched(self) -> int:
        """A descriptor that is readable when one of the queues is."""
        if len(self._fds) == 1:
            return self._fds[0]
        epoll = select.epoll()
        self._held.callback(epoll.close)
        for fd in self._fds:
            epoll.register(fd, select.EPOLLIN)
        return epoll.fileno()

    def _make_io(self, io: str) -> TapIo:
        ios: list[TapIo] = []
        with contextlib.ExitStack() as undo:
            for fd in self._fds:
                ios.append(self._make_one(fd, io))
                undo.callback(ios[-1].close)
            undo.pop_all()
        return ios[0] if len(ios) == 1 else QueuesIo(ios)

    def _make_one(self, fd: int, io: str) -> TapIo:
        its = (self.linkstr, fd, self.max_frame, self.counters)
        if io == "superframes":
            self.frame_header = HEADER.size
            return SuperIo(*its)
        kinds, why = ways(io)
        for kind in kinds:
            try:
                made = kind(*its)
            except (UnsupportedError, HostError) as error:
                if io != "auto":
                    raise
                why = why or str(error)
            else:
                self.fallback = why
                return made
        self.fallback = why
        return PlainIo(*its)

    @property
    def io(self) -> str:
        """How frames pass: ``uring``, ``walk``, ``plain`` or ``superframes``."""
        return self._io.name

    @property
    def batches(self) -> BatchIo | None:
        """The batches that frames pass by, where there is exactly one descriptor."""
        return self._io if isinstance(self._io, BatchIo) else None

    # -- sending -------------------------------------------------------------

    def _send(self, frames: Sequence[Buffer]) -> int:
        try:
            sizes = list(map(len, frames))  # type: ignore[arg-type]
        except TypeError:
            raise StrangeBufferError from None
        if not sizes:
            return 0
        size, most = sizes[0], self.max_frame
        alike = size if sizes.count(size) == len(sizes) else 0
        low, high = (size, size) if alike else (min(sizes), max(sizes))
        if low < ETHER_HEADER or high > most:
            self.check_frames(frames)
            raise StrangeBufferError  # what ``len`` says is not in octets
        return self._io.send(frames, sizes, alike)

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take frames that the host kernel sent.

        Raises LinkClosedError, LinkEndedError (the interface was deleted).
        """
        frames: list[bytes] = self._take(self._io.recv, limit, timeout)
        return frames

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`; with io_uring the buffers are lent, not to be released."""
        frames: Sequence[Buffer] = self._take(self._io.recv_views, limit, timeout)
        return frames

    def _take(
        self, look: Callable[[int], Any], limit: int, timeout: float | None
    ) -> Any:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self.check_open()
            # Where the last look found the end, wait before the next one.
            if timeout == 0 or not self._io.drained:
                frames = look(limit)
                if frames or timeout == 0:
                    return frames
            deadline = None if timeout is None else time.monotonic() + timeout
            left = timeout
            while self._waiter.wait(left):
                self.check_open()
                frames = look(limit)
                if frames:
                    return frames
                if deadline is not None:
                    left = max(0.0, deadline - time.monotonic())
            return []

    def fileno(self) -> int:
        """Readable when `recv` would not wait."""
        self.check_open()
        return self._waiter.fd

    def frame_fd(self) -> int | None:
        """The descriptor, unless there are several queues (see `Link.frame_fd`)."""
        self.check_open()
        return self._fds[0] if len(self._fds) == 1 else None

    # -- the end -------------------------------------------------------------

    def _wake(self) -> None:
        self._waiter.wake()

    def _release(self) -> None:
        self._held.close()
