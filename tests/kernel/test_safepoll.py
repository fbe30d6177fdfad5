"""Waiting for descriptors without sleeping in poll, on a scripted kernel."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import pytest

from rumphyper.kernel.poll import POLLIN, POLLOUT, POLLPRI, PollFd, Timespec
from rumphyper.kernel.safepoll import EVFILT_READ, EVFILT_WRITE, SafePoll

EMFILE, QUEUE = 24, 9


class Script:
    """A kernel whose pollts says ``ready`` in turn; notes what is called."""

    def __init__(self, ready: list[int], told: int = 0, queue: int = QUEUE) -> None:
        self.ready = ready
        self.told = told
        self.queue = queue
        self.names: list[str] = []
        self.watched: list[tuple[int, int]] = []
        self.limits: list[float] = []

    def bind(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.names.append(name)
            answer: int = getattr(self, name)(*arguments)
            return answer

        return call

    def pollts(self, fds: Any, count: int, span: Any, mask: None) -> int:
        assert (span._obj.seconds, span._obj.nanoseconds) == (0, 0)
        return self.ready.pop(0) if self.ready else 0

    def kqueue1(self, flags: int) -> int:
        return self.queue

    def kevent50(
        self, queue: int, changes: Any, count: int, events: Any, room: int, span: Any
    ) -> int:
        assert (queue, events) == (QUEUE, changes)
        assert room >= max(count, 1)
        self.watched = [(one.ident, one.filter) for one in changes[:count]]
        limit = span._obj.seconds + span._obj.nanoseconds / 1e9
        self.limits.append(limit)
        if not self.told:
            time.sleep(limit)
        return self.told

    def close(self, fd: int) -> int:
        assert fd == QUEUE
        return 0


def poll(script: Script, seconds: float, *fds: tuple[int, int]) -> int:
    array = (PollFd * max(len(fds), 1))(*(PollFd(fd, e, 0) for fd, e in fds))
    span = Timespec(int(seconds), int(seconds % 1 * 1e9))
    return SafePoll(script.bind)(array, len(fds), ctypes.byref(span), None)


SLEEP = ["kqueue1", "kevent50", "close"]


@pytest.mark.parametrize(("ready", "seconds"), [(1, 5.0), (-9, 5.0), (0, 0.0)])
def test_one_look_is_enough(ready: int, seconds: float) -> None:
    script = Script([ready])
    assert poll(script, seconds, (3, POLLIN)) == ready
    assert script.names == ["pollts"]


def test_it_sleeps_until_it_is_told() -> None:
    script = Script([0, 2], told=1)
    assert poll(script, 5.0, (3, POLLIN), (-1, POLLIN), (4, POLLIN | POLLOUT)) == 2
    assert script.names == ["pollts", *SLEEP, "pollts"]
    assert script.watched == [(3, EVFILT_READ), (4, EVFILT_READ), (4, EVFILT_WRITE)]
    assert 4.9 < script.limits[0] <= 5.0


def test_the_time_is_over() -> None:
    script = Script([])
    began = time.monotonic()
    assert poll(script, 0.05, (3, POLLIN)) == 0
    assert time.monotonic() - began >= 0.05
    assert script.names[-1] == "pollts"


def test_what_no_kqueue_tells_of_is_looked_at_often() -> None:
    script = Script([0, 0, 1])
    assert poll(script, 5.0, (3, POLLIN | POLLPRI)) == 1
    assert max(script.limits) <= 0.01
    script = Script([0, 0, 1])
    assert poll(script, 5.0, (3, 0)) == 1
    assert script.watched == []


def test_no_descriptor_for_a_kqueue() -> None:
    script = Script([0, 0, 1], queue=-EMFILE)
    assert poll(script, 5.0, (3, POLLIN)) == 1
    assert script.names == ["pollts", "kqueue1"] * 2 + ["pollts"]


def test_it_does_not_spin_when_the_two_disagree() -> None:
    script = Script([], told=1)
    assert poll(script, 0.1, (3, POLLIN)) == 0
    assert script.names.count("kevent50") < 100
