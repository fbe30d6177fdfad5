"""What links on an interface of the host have in common, for the tests of each kind."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from socket import socket

import pytest
from typing_extensions import Buffer

from rumphyper.errors import FrameError, LinkClosedError
from rumphyper.link import Link
from rumphyper.net.stack import Stack
from tests.link.tap_support import arrivals, frame, odd_buffers, open_fds


def any_buffer_can_be_sent(link: Link, there: socket) -> None:
    """Of all types and mixed; what cannot be a frame stops its batch."""
    for sizes in ([50] * 20, [50 + 2 * n for n in range(20)], [300] * 20):
        plain = [frame(bytes([n]) * size) for n, size in enumerate(sizes)]
        odd = odd_buffers(plain)
        batches: list[list[Buffer]] = [[one] for one in odd]
        batches += [odd, [*odd, *plain[6:]], [memoryview(one) for one in plain]]
        batches.append([*plain[:2], array("H", plain[2]), *plain[3:]])
        for batch in batches:
            wanted = [bytes(memoryview(one).tobytes()) for one in batch]
            assert link.send(batch) == len(batch)
            assert arrivals(there, len(batch)) == wanted
    before = link.counters.sent
    for bad in (array("H", [0] * 800), array("H", [0] * 6), b""):
        with pytest.raises(FrameError, match="frame 1 of the batch"):
            link.send([plain[0], bad])
    with pytest.raises(TypeError):
        link.send([plain[0], 3])  # type: ignore[list-item]
    assert link.counters.sent == before


def descriptor_tells_of_frames(link: Link, there: socket) -> None:
    """It is readable as long as a frame is there, and no longer."""
    fd = link.fileno()
    assert select.select([fd], [], [], 0)[0] == []
    for one in (frame(b"x"), frame(b"y")):
        there.send(one)
    assert select.select([fd], [], [], 5)[0] == [fd]
    assert link.recv(1, timeout=5) == [frame(b"x")]
    assert select.select([fd], [], [], 5)[0] == [fd]
    assert link.recv(timeout=5) == [frame(b"y")]
    assert select.select([fd], [], [], 0)[0] == []


def close_wakes_a_reader(opened: Callable[[], Link], turns: int) -> None:
    """A reader that waits ends, nothing is left, and nothing can be called any more."""
    opened().close()
    before = open_fds()
    raised: list[BaseException] = []

    def read(link: Link) -> None:
        try:
            link.recv()
        except BaseException as error:
            raised.append(error)

    for _ in range(turns):
        link = opened()
        reader = threading.Thread(target=read, args=[link])
        reader.start()
        time.sleep(0.01)
        link.close()
        reader.join(5)
        assert not reader.is_alive()
        assert isinstance(raised.pop(), LinkClosedError)
        link.close()
        for call in (link.recv, link.fileno, lambda link=link: link.send([])):
            with pytest.raises(LinkClosedError):
                call()
    assert open_fds() == before


def kept_views_do_not_stop_the_close(link: Link, there: socket) -> None:
    with link:
        there.send(frame(b"kept"))
        views = link.recv_views(timeout=5)
        octets = bytes(views[0])
    assert octets == frame(b"kept")


@contextlib.contextmanager
def station(link: Link, address: str) -> Iterator[Stack]:
    """Let a station answer by the link, which is closed at the end."""
    stack = Stack(link.mac, [IPv4Interface(address)], [])

    def serve() -> None:
        with contextlib.suppress(LinkClosedError):
            while True:
                for octets in link.recv():
                    link.send(list(stack.input(octets)))

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield stack
    finally:
        link.close()
        server.join(10)
