"""Whose a pthread_self was, when libc gives it to one thread after another."""

from __future__ import annotations

import threading
import time

import pytest

from rumphyper.hypercalls import threadname
from rumphyper.hypercalls.threadname import Threads


def test_the_calling_thread_by_both_ways() -> None:
    """Asked on the thread, and afterwards by pthread_self and time."""
    threads = Threads()
    assert threads.here() == (threading.get_native_id(), "MainThread")
    now = time.monotonic_ns()
    assert threads.who(threading.get_ident(), now) == threads.here()
    assert threads.who(0x1234, now) == (0x1234, "?")


def test_a_number_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first did stays the first's, though nobody looked meanwhile."""
    alive = {10: "first"}
    monkeypatch.setattr(threadname, "task_ids", lambda: list(alive))
    monkeypatch.setattr(threadname, "task_name", lambda task: alive.get(task, ""))
    monkeypatch.setattr(threadname, "pthread_of", lambda task: 0x7000)
    threads = Threads()
    threads.look()
    first = time.monotonic_ns()
    del alive[10]
    alive[11] = "second"
    threads.look()
    assert threads.who(0x7000, first) == (10, "first")
    assert threads.who(0x7000, time.monotonic_ns()) == (11, "second")
    made = time.monotonic_ns()
    del alive[11]
    alive[12] = "third"
    later = time.monotonic_ns()
    threads.look(since=made)  # who made it knows since when
    assert threads.who(0x7000, made - 1) == (11, "second")
    assert threads.who(0x7000, later) == (12, "third")


def test_a_name_that_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel's thread has the process's until its maker names it."""
    names = {10: threadname._process_name()}
    monkeypatch.setattr(threadname, "task_ids", lambda: list(names))
    monkeypatch.setattr(threadname, "task_name", lambda task: names.get(task, ""))
    monkeypatch.setattr(threadname, "pthread_of", lambda task: 0x7000)
    threads = Threads()
    threads.look()
    names[10] = "rsi0/1"
    threads.look()
    assert threads.who(0x7000, time.monotonic_ns()) == (10, "rsi0/1")
    names[10] = "another"  # a name that is one is not looked up again
    threads.look()
    assert threads.who(0x7000, time.monotonic_ns()) == (10, "rsi0/1")
