"""Calls over a connection that signals' handlers interrupt, and forks."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import ServerGoneError
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import Frame
from tests.kernel.proxy.fakeserver import Peer, serving

SIZE = ctypes.c_size_t


class Interrupted(Exception):
    """What the handlers of these tests raise."""


@pytest.fixture
def alarm() -> Iterator[Any]:
    """Sets a handler for SIGALRM and has it sent after some seconds."""
    before = signal.getsignal(signal.SIGALRM)

    def start(handler: Any, seconds: float) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    try:
        yield start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raising(number: int, frame: Any) -> None:
    raise Interrupted


# signals


def test_a_handler_that_raises_ends_the_wait(tmp_path: Path, alarm: Any) -> None:
    """What the kernel would write for the call later touches nothing."""
    room = ctypes.create_string_buffer(8)
    given_up = threading.Event()

    def script(peer: Peer) -> None:
        call = peer.recv()
        _, start, _ = struct.unpack("=QQQ", call.body)
        assert given_up.wait(5)
        peer.copyout(start, b"too late")
        peer.answer(call, 8)
        peer.answer(peer.recv(), 7)

    with serving(tmp_path, script) as kernel:
        alarm(raising, 0.05)
        with pytest.raises(Interrupted):
            kernel.calls.read(3, room, SIZE(8))
        given_up.set()
        assert kernel.syscall("getpid") == 7
    assert room.raw == bytes(8)


def test_a_call_that_was_given_up_still_has_its_data(
    tmp_path: Path, alarm: Any
) -> None:
    """bytes are kept for it; what only the caller could keep is refused."""
    memory = bytearray(b"mutable")
    bare = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    found: list[Frame] = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            call, later = peer.recv(), peer.recv()
            _, start, size = struct.unpack("=QQQ", call.body)
            found.append(peer.copyin(start, size))
            peer.answer(call, size)
            peer.answer(later, 7)

    with serving(tmp_path, script) as kernel:
        for pointer, size in ((b"as it was", 9), (bare, 7)):
            alarm(raising, 0.05)
            with pytest.raises(Interrupted):
                kernel.calls.write(3, pointer, SIZE(size))
            assert kernel.syscall("getpid") == 7
    assert [(one.cls, one.body) for one in found] == [
        (frames.RESP, b"as it was"),
        (frames.ERROR, b""),
    ]


def test_a_handler_that_returns_does_not_disturb(tmp_path: Path, alarm: Any) -> None:
    """It runs in the middle of the call, and may make calls itself."""
    seen: list[int] = []

    def script(peer: Peer) -> None:
        first = peer.recv()
        second = peer.recv()
        peer.answer(second, 2)
        peer.answer(first, 1)

    with serving(tmp_path, script) as kernel:
        alarm(lambda number, frame: seen.append(kernel.calls.getpid()), 0.05)
        assert kernel.calls.getpid() == 1
        assert seen == [2]


def test_the_main_thread_is_interrupted_while_another_reads(
    tmp_path: Path, alarm: Any
) -> None:
    begun, done = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        first = peer.recv()
        begun.set()
        peer.recv()
        assert done.wait(5)
        peer.answer(first, 1)

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(1) as pool:
        reader = pool.submit(kernel.calls.getpid)
        assert begun.wait(5)
        alarm(raising, 0.05)
        with pytest.raises(Interrupted):
            kernel.calls.getppid()
        done.set()
        assert reader.result(timeout=5) == 1


def test_who_gives_up_lets_others_read(tmp_path: Path, alarm: Any) -> None:
    """The main thread, which reads for both, goes before any answer has come."""
    begun, done = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.recv()
        begun.set()
        other = peer.recv()
        assert done.wait(5)
        peer.answer(other, 2)

    def later() -> int:
        assert begun.wait(5)
        return kernel.calls.getppid()

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(1) as pool:
        other = pool.submit(later)
        alarm(raising, 0.3)
        with pytest.raises(Interrupted):
            kernel.calls.getpid()
        done.set()
        assert other.result(timeout=5) == 2


# other processes


def in_child(work: Any) -> None:
    """Run ``work`` in a forked child; its failure fails the test."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_has_no_connection(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        for number in (1, 2):
            peer.answer(peer.recv(), number)
        assert peer.gone()

    with serving(tmp_path, script) as kernel:
        assert kernel.syscall("getpid") == 1

        def child() -> None:
            with pytest.raises(ServerGoneError, match="forked from"):
                kernel.syscall("getpid")
            kernel.close()

        in_child(child)
        assert kernel.syscall("getpid") == 2


def test_a_child_of_a_thread_while_others_are_inside(tmp_path: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        first = peer.recv()
        begun.set()
        assert done.wait(5)
        peer.answer(first, 1)

    with serving(tmp_path, script) as kernel, ThreadPoolExecutor(2) as pool:
        reader = pool.submit(kernel.calls.getpid)
        assert begun.wait(5)

        def child() -> None:
            signal.alarm(5)  # end it rather than hang
            with pytest.raises(ServerGoneError, match="forked from"):
                kernel.syscall("getpid")

        pool.submit(in_child, child).result(timeout=10)
        done.set()
        assert reader.result(timeout=5) == 1
