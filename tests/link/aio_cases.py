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

Feed = Callable[[list[bytes]], object]
"""Has frames arrive at the link."""

PATIENCE = 20.0


def batches_until_closed(link: Link, feed: Feed, pace: float = 0.01) -> None:
    """Frames come in batches, ``pace`` seconds apart; the loop ends with the link."""
    frames = [frame(number.to_bytes(4, "big") * 20) for number in range(300)]

    async def main() -> list[bytes]:
        found: list[bytes] = []
        loop = asyncio.get_running_loop()
        for number in range(6):
            some = frames[50 * number : 50 * number + 50]
            loop.call_later(number * pace, feed, some)
        async for batch in link:
            assert 1 <= len(batch) <= 64
            found += batch
            if len(found) == 300:
                loop.call_later(0.02, link.close)
        return found

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == frames


def left_cancelled_and_closed(link: Link, feed: Feed) -> None:
    """It can be left, cancelled and closed by another thread; no descriptor is left."""
    link.fileno()  # some open theirs only now

    async def main() -> None:
        before = open_fds()
        feed([frame(b"one" * 20)])
        async for batch in link:
            assert batch == [frame(b"one" * 20)]
            break
        waiting = asyncio.ensure_future(aio.recv(link))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.03)
        assert waiting.cancelled()
        assert open_fds() == before
        feed([frame(b"two" * 20)])
        assert await aio.recv(link, limit=1) == [frame(b"two" * 20)]
        threading.Timer(0.03, link.close).start()
        start = time.monotonic()
        with pytest.raises(LinkClosedError):
            await aio.recv(link)
        assert time.monotonic() - start < aio.RECHECK
        async for _ in link:
            raise AssertionError("a closed link gives nothing")

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
