"""Frames in and out of one TAP descriptor: the plain way, read(2) and write(2).

The other ways are in `rumphyper.link.tap_batch`; all have the face of `TapIo`.
"""

from __future__ import annotations

import abc
import errno
import os
from collections.abc import Sequence
from itertools import repeat

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError, LinkError
from rumphyper.link.base import Counters
from rumphyper.link.octets import check_types

MOST = 64
"""Frames that are read at once by plain calls; more would gain nothing."""

AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK)
EBADFD = getattr(errno, "EBADFD", errno.EBADF)


def failed(linkstr: str, number: int) -> LinkError:
    """The error that an errno of reading or writing a TAP means."""
    if number in (EBADFD, errno.EBADF, errno.ENXIO):
        cause = "the TAP is gone: somebody has deleted the interface"
        return LinkEndedError(linkstr, cause, "open it again")
    if number == errno.EIO:
        remedy = (
            f"bring it up: `ip link set {linkstr.partition(':')[2]} up`, or up=True"
        )
        return LinkError(linkstr, "the interface is down", remedy)
    return LinkError(linkstr, os.strerror(number), "see tun.c in the kernel's sources")


class TapIo(abc.ABC):
    """Reads and writes frames of one descriptor; never waits.

    Sending and receiving may go on at the same time in two threads, each of
    the two in one at a time: the link sees to that. What is carried and lost is
    counted in ``counters``.
    """

    name: str
    """``plain``, ``uring`` or ``walk``, for one."""

    drained = True
    """Whether the last look at the descriptor found it empty."""

    def __init__(
        self, linkstr: str, fd: int, max_frame: int, counters: Counters
    ) -> None:
        self._linkstr = linkstr
        self._fd = fd
        # One octet more than a frame has: a read that long was cut off.
        self._slot = max_frame + 1
        self._counters = counters

    @abc.abstractmethod
    def send(self, frames: Sequence[Buffer], sizes: Sequence[int], alike: int) -> int:
        """Write frames of these sizes; return how many were taken.

        ``alike`` is the size that all of them have, or 0. Raises LinkError when
        the first of them is refused for good, and StrangeBufferError, having
        done nothing, for a type whose length may not be its number of octets.
        """

    @abc.abstractmethod
    def recv(self, limit: int) -> list[bytes]:
        """Read up to ``limit`` frames, as many as are there. LinkEndedError."""

    def recv_views(self, limit: int) -> Sequence[Buffer]:
        """Like ``recv``; the buffers may be lent until the next call."""
        return self.recv(limit)

    @abc.abstractmethod
    def close(self) -> None:
        """Free what is held besides the descriptor. Idempotent."""

    def count_sent(self, sizes: Sequence[int], alike: int, taken: int) -> int:
        """Count the first ``taken`` frames; return ``taken``."""
        self._counters.sent += taken
        octets = alike * taken if alike else sum(sizes[:taken])
        self._counters.sent_bytes += octets
        return taken

    def count_received(self, frames: int, octets: int) -> None:
        """Count frames that are handed on."""
        self._counters.received += frames
        self._counters.received_bytes += octets


class PlainIo(TapIo):
    """One read(2) or write(2) a frame.

    A read asks for no octet more than it must: how much longer the buffer is
    than the frame decides what shrinking it costs. And no more frames are read
    at once than malloc(3) keeps the memory of when they are freed again.
    """

    name = "plain"
    write = staticmethod(os.write)
    read = staticmethod(os.read)

    def send(self, frames: Sequence[Buffer], sizes: Sequence[int], alike: int) -> int:
        check_types(frames)
        done: list[int] = []
        try:
            # The list keeps what was done before a call raised.
            done.extend(map(self.write, repeat(self._fd), frames))
        except BlockingIOError:
            pass
        except OSError as error:
            if not done:
                raise failed(self._linkstr, error.errno or 0) from None
        return self.count_sent(sizes, alike, len(done))

    def recv(self, limit: int) -> list[bytes]:
        slot = self._slot
        frames: list[bytes] = []
        self.drained = False
        fds = repeat(self._fd, limit if limit < MOST else MOST)
        try:
            frames.extend(map(self.read, fds, repeat(slot)))
        except BlockingIOError:
            self.drained = True
        except OSError as error:
            if not frames:
                raise failed(self._linkstr, error.errno or 0) from None
        sizes = list(map(len, frames))
        if slot in sizes:
            frames = [frame for frame in frames if len(frame) < slot]
            self._counters.dropped += sizes.count(slot)
            sizes = list(map(len, frames))
        self.count_received(len(frames), sum(sizes))
        return frames

    def close(self) -> None:
        """Nothing is held."""
