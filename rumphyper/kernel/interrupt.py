"""Signals while the main thread is inside the kernel.

Python runs signal handlers on the main thread, between any two bytecodes: also
in a hypercall that the kernel makes on that thread. A handler that raises (as
Ctrl-C's does) would leave the hypercall half done, and ctypes would swallow
the exception. So, while the main thread is in the kernel, handlers wait: the
signal is noted, and its handler runs when the kernel has been left.

The choice: a deferring guard, and not a thread that enters the kernel in the
main thread's place. The guard costs some hundred nanoseconds a call, a hand-over
to another thread and back costs tens of microseconds. The price is that a call
which sleeps in the kernel cannot be interrupted, so the main thread must not
sleep there for long: whatever waits (sockets) waits in slices of `SLICE`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

SLICE = 0.1
"""Seconds that the main thread may sleep in the kernel before it looks up."""

WATCHED = tuple(
    getattr(signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM"),
        *("SIGPROF", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGIO", "SIGWINCH"),
    )
    if hasattr(signal, name)
)
"""Signals whose Python handlers are held back: those that programs handle.

Each costs 20 nanoseconds a call, for there is no other way to learn of a handler
that has been installed since the last one.
"""

NUMBERS = tuple(map(int, WATCHED))
get_handler: Callable[[int], object] = importlib.import_module("_signal").getsignal
"""signal.getsignal without its enumerations, which cost microseconds."""

FAULTS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT")
}

Handler = Callable[[int, FrameType | None], Any]


class StandIn:
    """Installed in place of a handler; runs it, or notes that it shall run.

    One for each handler: a program that puts back what signal.signal has
    returned puts back the right one.
    """

    __slots__ = ("guard", "handler")

    def __init__(self, guard: Guard, handler: Handler) -> None:
        self.guard = guard
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        if self.guard.depth:
            self.guard.pending[number] = self.handler, frame
            return None
        return self.handler(number, frame)


class Guard:
    """Holds signals back on the main thread; a context manager, nestable.

    On other threads it does nothing, for no handler runs there. Handlers that
    are installed later are found when the kernel is next entered.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.pending: dict[int, tuple[Handler, FrameType | None]] = {}
        """What came meanwhile, by signal. As everywhere, twice is once."""

        self.seen: tuple[object, ...] = ()
        """The handlers of `NUMBERS`, all stand-ins, when they were last looked at."""

        self.main = threading.main_thread().ident

    def on_main(self) -> bool:
        """Whether the calling thread is the one that handlers run on."""
        return threading.get_ident() == self.main

    def adopt(self) -> None:
        """Stand in for the watched signals' Python handlers. Main thread only."""
        for number in WATCHED:
            handler = signal.getsignal(number)
            if callable(handler) and not isinstance(handler, StandIn):
                signal.signal(number, StandIn(self, handler))
        self.seen = tuple(map(get_handler, NUMBERS))

    def adopt_new(self) -> None:
        """`adopt`, if a watched signal has another handler than last time."""
        if tuple(map(get_handler, NUMBERS)) != self.seen:
            self.adopt()

    def release(self) -> None:
        """Give the handlers back. On other threads than the main one: nothing."""
        if not self.on_main():
            return
        for number in WATCHED:
            handler = signal.getsignal(number)
            if isinstance(handler, StandIn):
                signal.signal(number, handler.handler)

    def enter(self) -> None:
        """Hold signals back from here on. Main thread only; pair with `leave`."""
        self.depth += 1
        self.adopt_new()

    def leave(self) -> None:
        """The other end of `enter`: runs the handlers of what came meanwhile."""
        self.depth -= 1
        if self.pending and not self.depth:
            self.deliver()

    def deliver(self) -> None:
        """Run the handlers of noted signals, all; raises what they raise."""
        try:
            number, (handler, frame) = self.pending.popitem()
        except KeyError:  # a handler that came in between has been in a kernel
            return
        try:
            handler(number, frame)
        finally:
            if self.pending:
                self.deliver()

    def after_fork(self) -> None:
        """In the child the thread that forked is the main one."""
        if not self.on_main():
            self.main = threading.get_ident()
            self.depth = 0  # what the parent's main thread was in
            self.pending.clear()

    def __enter__(self) -> Guard:
        if self.on_main():
            self.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.on_main():
            self.leave()


GUARD = Guard()
"""The process's one: two would stand in for each other's handlers for ever."""

os.register_at_fork(after_in_child=GUARD.after_fork)


@contextlib.contextmanager
def no_signals() -> Iterator[None]:
    """Threads that are made in here take no signals: those are Python's.

    A thread inherits its maker's mask, and a signal that ends a kernel
    thread's sleep early would surprise NetBSD. Those that tell of a thread's
    own faults stay, for faulthandler.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
