"""Links in an asyncio event loop.

``async for frames in link`` gives batches as they arrive; `recv` and `send` are the
calls beneath. Nothing is done by threads: the loop watches the link's descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Sequence

from typing_extensions import Buffer

from rumphyper.errors import LinkClosedError, LinkEndedError
from rumphyper.link.base import BATCH, Link

RECHECK = 0.5
"""Seconds: a link is looked at again although its descriptor says nothing. Some
ends it cannot tell of, such as a file that is followed and gets removed."""

SHORT, LONG = 0.0002, 0.02
"""Seconds between two tries to send to a link whose queue is full."""


class _Watch:
    """One wait of one task for a link: ended by frames, time or the link's close."""

    def __init__(self, link: Link) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        # One of our own: the link may be closed by another thread, and its
        # descriptor's number be somebody else's before the loop forgets it.
        self._fd = os.dup(link.fileno())
        try:
            self._loop.add_reader(self._fd, self.stop)
        except BaseException:
            os.close(self._fd)
            raise
        self._timer = self._loop.call_later(RECHECK, self.stop)
        self._forget = link.when_closing(self._closing)
        if link.closed:  # before it knew of us
            self.stop()

    async def wait(self) -> None:
        try:
            await self._ready
        finally:
            self.stop()
            self._forget()

    def stop(self) -> None:
        """End the wait and let go of everything; in the loop's thread. Idempotent."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._timer.cancel()
        self._loop.remove_reader(fd)
        os.close(fd)
        if not self._ready.done():
            self._ready.set_result(None)

    def _closing(self) -> None:
        """The link is about to close, in whichever thread."""
        if threading.get_ident() == self._thread:
            self.stop()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.stop)


async def recv(link: Link, limit: int = BATCH) -> list[bytes]:
    """Return 1 to ``limit`` frames, waiting in the event loop.

    Other tasks get their turn even when frames never run out. Raises
    LinkClosedError (also when it is closed meanwhile), LinkEndedError, LinkError.
    """
    frames = link.recv(limit, 0)
    if frames:
        await asyncio.sleep(0)
        return frames
    while not frames:
        await _Watch(link).wait()
        frames = link.recv(limit, 0)
    return frames


async def send(link: Link, frames: Sequence[Buffer]) -> None:
    """Send all of a batch, waiting in the event loop while the link's queue is full.

    Raises as the link's own ``send`` does; what went before that has gone.
    """
    pause = SHORT
    while frames:
        taken = link.send(frames)
        frames = frames[taken:]
        if not frames:
            return
        await asyncio.sleep(pause)
        pause = SHORT if taken else min(2 * pause, LONG)


class Batches(AsyncIterator[list[bytes]]):
    """Every batch that arrives, until the link is closed or has ended.

    It holds nothing between two batches, so a loop may be left at any time.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def __anext__(self) -> list[bytes]:
        try:
            return await recv(self._link)
        except (LinkClosedError, LinkEndedError):
            raise StopAsyncIteration from None
