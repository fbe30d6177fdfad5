"""What every link has to do in an event loop; for tests of all kinds of link."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from rumphyper.errors import LinkClosedError
from rumphyper.link import Link, aio
from tests.link.tap_support import frame, open_fds

Feed = Callable[[list[bytes]], int]
"""Has frames arrive at the link; how many were taken."""

PACE = 0.01
"""Seconds between two batches."""

PATIENCE = 20.0


def batches_until_closed(link: Link, feed: Feed) -> None:
    """Frames come in batches; the loop ends with the link."""
    frames = [frame(number.to_bytes(4, "big") * 20) for number in range(300)]

    async def give() -> None:
        left = frames
        while left:
            left = left[feed(left[:50]) :]
            await asyncio.sleep(PACE)

    async def main() -> list[bytes]:
        found: list[bytes] = []
        giving = asyncio.ensure_future(give())
        async for batch in link:
            assert 1 <= len(batch) <= 64
            found += batch
            if len(found) == 300:
                await giving
                asyncio.get_running_loop().call_later(0.02, link.close)
        return found

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == frames


def left_cancelled_and_closed(link: Link, feed: Feed) -> None:
    """It can be left, cancelled and closed by another thread; no descriptor is left."""
    link.fileno()  # some open theirs only now

    async def main() -> None:
        before = open_fds()
        assert feed([frame(b"one" * 20)]) == 1
        async for batch in link:
            assert batch == [frame(b"one" * 20)]
            break
        waiting = asyncio.ensure_future(aio.recv(link))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.03)
        assert waiting.cancelled()
        assert open_fds() == before
        assert feed([frame(b"two" * 20)]) == 1
        assert await aio.recv(link, limit=1) == [frame(b"two" * 20)]
        threading.Timer(0.03, link.close).start()
        start = time.monotonic()
        with pytest.raises(LinkClosedError):
            await aio.recv(link)
        assert time.monotonic() - start < aio.RECHECK
        async for _ in link:
            raise AssertionError("a closed link gives nothing")

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
