"""Signals whose handlers wait until the main thread has left the kernel."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from rumphyper.kernel.interrupt import WATCHED, Guard, StandIn


class Raised(Exception):
    """What the handler raises."""


def raises(number: int, frame: object) -> None:
    raise Raised(number)


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard, and everybody's handlers as they were afterwards."""
    before = {number: signal.getsignal(number) for number in WATCHED}
    made = Guard()
    yield made
    made.depth = 0
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_handler_waits_and_then_raises(guard: Guard) -> None:
    for number in WATCHED:
        signal.signal(number, raises)
        guard.enter()
        with guard:
            os.kill(os.getpid(), number)
        with pytest.raises(Raised, match=str(int(number))):
            guard.leave()
        with pytest.raises(Raised):
            os.kill(os.getpid(), number)


def test_a_handler_that_comes_later_is_found(guard: Guard) -> None:
    with guard:
        pass
    signal.signal(signal.SIGALRM, raises)
    with pytest.raises(Raised), guard:
        signal.raise_signal(signal.SIGALRM)


def test_all_handlers_run_once_whatever_one_raises(guard: Guard) -> None:
    seen: list[int] = []
    signal.signal(signal.SIGALRM, raises)
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    guard.enter()
    for _ in range(3):
        signal.raise_signal(signal.SIGALRM)
        signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(Raised):
        guard.leave()
    assert seen == [signal.SIGUSR1]


def test_what_was_there_before_can_be_put_back(guard: Guard) -> None:
    """A program's usual way to have a handler for a while."""
    seen: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    with guard:
        pass
    before = signal.signal(signal.SIGUSR1, raises)
    with pytest.raises(Raised), guard:
        signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)
    with guard:
        signal.raise_signal(signal.SIGUSR1)
        assert seen == []
    assert seen == [signal.SIGUSR1]


def test_release_gives_all_back(guard: Guard) -> None:
    signal.signal(signal.SIGHUP, raises)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with guard:
        assert isinstance(signal.getsignal(signal.SIGHUP), StandIn)
    guard.release()
    assert signal.getsignal(signal.SIGHUP) is raises
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_let_alone(guard: Guard) -> None:
    def enter() -> None:
        with guard:
            depths.append(guard.depth)

    depths: list[int] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert depths == [0]
