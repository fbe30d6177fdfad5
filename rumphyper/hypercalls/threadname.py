"""What to call a thread in a trace: its id, its name, and since when.

A call that Python sees is asked for on its own thread. A recorded thunk leaves
no more than pthread_self(3), which libc gives to another thread when the first
is gone; so what is known of it has a time.
"""

from __future__ import annotations

import bisect
import functools
import os
import threading
import time

import attrs

from rumphyper.host.tasks import pthread_of, task_ids, task_name

Identity = tuple[int, str]
"""The host's thread id (gettid(2)), and the name."""

LATE = 20_000
"""Nanoseconds: a thread is heard of some calls after its first one. To begin a
thread takes longer."""

HISTORY = 1000
"""How many threads with one pthread_self are remembered."""


@attrs.define
class _Owner:
    """A thread that had a pthread_self from some time on."""

    task: int
    name: str
    since: int


class _Known(threading.local):
    """What is known of the calling thread; goes when the thread goes."""

    identity: Identity | None = None


class Threads:
    """All threads of the process, as far as anybody has looked."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nobody: in a process that was forked off all numbers are new."""
        self._known = _Known()
        self._owners: dict[int, list[_Owner]] = {}
        self._alive: dict[int, _Owner] = {}
        self._looked = 0
        self._lock = threading.Lock()

    def here(self) -> Identity:
        """The host's id of the calling thread, and its name.

        The name is Python's for threads that Python started and for the main
        one; for a kernel's thread it is the one that rumpuser_thread_create was
        given, which the host learns a moment after the thread began to run: so
        a name that is still the process's is looked up again.
        """
        known = self._known.identity
        if known is not None:
            return known
        ident, task = threading.get_ident(), threading.get_native_id()
        python = _python_threads().get(task)
        name = python.name if python else task_name(task)
        with self._lock:
            name = self._remember(ident, task, name, time.monotonic_ns() - LATE)
        if name != _process_name():
            self._known.identity = (task, name)
        return task, name

    def look(self, since: int | None = None) -> None:
        """Take note of threads that have begun.

        That was after ``since`` (CLOCK_MONOTONIC, nanoseconds) or else after
        the last look. But what was another thread's until nobody knows when is
        the new one's from now on: what it did before it would have told (`here`).
        """
        now, tasks = time.monotonic_ns(), set(task_ids())
        python = _python_threads()
        with self._lock:
            for task in self._alive.keys() - tasks:
                del self._alive[task]
            for task in tasks:
                owner = self._alive.get(task)
                if owner is not None and owner.name != _process_name():
                    continue
                thread = python.get(task)
                name = thread.name if thread else task_name(task)
                if owner is not None:
                    owner.name = name
                elif pthread := (thread and thread.ident) or pthread_of(task):
                    began = now if pthread in self._owners else self._looked
                    self._remember(pthread, task, name, since or began)
            self._looked = now

    def _remember(self, pthread: int, task: int, name: str, since: int) -> str:
        """Note who has ``pthread``; return the best name there is.

        A thread of Python's that is just ending has lost its name.
        """
        owners = self._owners.setdefault(pthread, [])
        if not owners or owners[-1].task != task:
            earliest = owners[-1].since + 1 if owners else 0
            owners.append(_Owner(task, name, max(since, earliest)))
            del owners[:-HISTORY]
        elif name != _process_name():
            owners[-1].name = name
        self._alive[task] = owners[-1]
        return owners[-1].name

    def who(self, pthread: int, when: int) -> Identity:
        """Whose ``pthread`` was at a time (CLOCK_MONOTONIC, nanoseconds).

        Of a thread that nobody has seen: that number, and ``?``.
        """
        owners = self._owners.get(pthread)
        if not owners:
            return pthread, "?"
        place = bisect.bisect_right(owners, when, key=lambda owner: owner.since)
        owner = owners[max(place - 1, 0)]
        return owner.task, owner.name


def _python_threads() -> dict[int | None, threading.Thread]:
    """The threads that Python started, and the main one, by thread id."""
    # Foreign threads that asked for current_thread() are "Dummy-N" there.
    threads = threading.enumerate()
    return {t.native_id: t for t in threads if not t.name.startswith("Dummy-")}


@functools.cache
def _process_name() -> str:
    """What a thread that nobody has named is called."""
    return task_name(os.getpid())


THREADS = Threads()
"""Those of this process."""

os.register_at_fork(after_in_child=THREADS.forget)
