"""What the tests of the bridge share."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rumphyper.bridge import Bridge, Settings
from rumphyper.link import Link, open_link
from rumphyper.net.ethernet import Ethernet

ALL = b"\xff" * 6


class Asked:
    """Somebody who wants a loop to stop."""

    def __init__(self) -> None:
        self.wanted = False

    def wait(self, fd: int, timeout: float | None = None) -> bool:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(20 if timeout is None else min(20, timeout * 1000 + 1))
        return not self.wanted


def frames(count: int, source: int = 1, size: int = 100) -> list[bytes]:
    station = b"\2\0\0\0\0" + bytes([source])
    return [
        Ethernet(
            ALL, station, 0x88B5, number.to_bytes(4, "big").ljust(size, b".")
        ).build()
        for number in range(count)
    ]


@contextmanager
def bridged(
    *linkstrs: str, opener: Callable[[str], Link] = open_link, **settings: Any
) -> Iterator[tuple[Bridge, list[str]]]:
    """A bridge that runs in a thread, and what it reports."""
    said: list[str] = []
    stop = Asked()
    bridge = Bridge(linkstrs, Settings(**settings), said.append, opener)
    failure: list[BaseException] = []

    def loop() -> None:
        try:
            bridge.run(stop)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield bridge, said
    finally:
        stop.wanted = True
        thread.join(10)
        assert not thread.is_alive()
        bridge.close()
    assert not failure, failure
