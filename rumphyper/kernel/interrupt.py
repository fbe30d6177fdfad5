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
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals whose Python handlers are held back."""

SIGINT = int(signal.SIGINT)
_NUMBERS = tuple(map(int, WATCHED))
get_handler: Callable[[int], object] = importlib.import_module("_signal").getsignal
"""signal.getsignal without its enumerations, which cost microseconds."""

FAULTS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT")
}

_Handler = Callable[[int, FrameType | None], Any] | int | None


class Guard:
    """Holds signals back on the main thread; a context manager, nestable.

    On other threads it does nothing, for no handler runs there. Handlers that
    are installed later are found when the kernel is next entered.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.pending: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, _Handler] = {}
        self._seen: tuple[object, ...] = ()
        self.handler = self._handle
        """One object: each access to the method would make another."""

        self.main = threading.main_thread().ident

    def on_main(self) -> bool:
        """Whether the calling thread is the one that handlers run on."""
        return threading.get_ident() == self.main

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.depth:
            self.pending.append((number, frame))
        else:
            self._run(number, frame)

    def _run(self, number: int, frame: FrameType | None) -> None:
        before = self._before.get(number)
        if callable(before):
            before(number, frame)

    def adopt(self) -> None:
        """Stand in for the watched signals' Python handlers. Main thread only."""
        for number in WATCHED:
            handler = signal.getsignal(number)
            if callable(handler) and handler is not self.handler:
                self._before[number] = handler
                signal.signal(number, self.handler)

    def adopt_new(self) -> None:
        """`adopt`, if a watched signal has another handler than last time."""
        if tuple(map(get_handler, _NUMBERS)) != self._seen:
            self.adopt()
            self._seen = tuple(map(get_handler, _NUMBERS))

    def release(self) -> None:
        """Give the handlers back, where nobody has replaced them since."""
        if not self.on_main():
            return
        for number, before in self._before.items():
            if signal.getsignal(number) is self.handler:
                signal.signal(number, before)
        self._before.clear()

    def enter(self) -> None:
        """Hold signals back from here on. Main thread only; pair with `leave`."""
        self.depth += 1
        if get_handler(SIGINT) is not self.handler:
            self.adopt()

    def leave(self) -> None:
        """The other end of `enter`: runs the handlers of what came meanwhile."""
        self.depth -= 1
        if self.pending and not self.depth:
            self.deliver()

    def deliver(self) -> None:
        """Run the handlers of noted signals; raises what they raise."""
        while self.pending:
            self._run(*self.pending.pop(0))

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
