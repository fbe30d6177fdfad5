"""Between the slots and what answers: nothing, or what counts and records.

Calls that C answers go through taps (taps.py), which cost some nanoseconds.
Calls that Python answers are seen by Python, which can show what pointers point
to while the call is under way; so are the few that C answers and that carry
text. Where there are no thunks Python sees them all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.answer import Answer
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.ctype import STRING, STRING_BUFFER
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.slots import Slots
from rumphyper.hypercalls.taps import Taps
from rumphyper.hypercalls.threadname import THREADS
from rumphyper.hypercalls.trace import Trace

ENDING = "rumpuser_exit"
"""After it nobody may come to ask for the records."""

TELLING = {"rumpuser_curlwpop", "rumpuser_thread_create"}
"""Calls by which threads come to be known: the one by which each begins and ends,
where it can be asked for its name, and the one that makes them."""

TOLD = (
    TELLING
    | {ENDING}
    | {
        name
        for name, call in CATALOGUE.items()
        if any(argument.type in (STRING, STRING_BUFFER) for argument in call.arguments)
    }
)
"""Calls that Python is told of, whoever answers, if there are to be records:
those, the ones with text, and the end. All are rare."""


class Switchboard:
    """What stands in the slots of one hypervisor."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._slots: Slots | None = None
        self._answers: dict[str, Answer] = {}
        self._taps = Taps()
        self._trace: Trace | None = None
        self._counting = False
        self._counts: dict[str, int] = {}
        self._lock = threading.RLock()

    def open(self, slots: Slots | None) -> None:
        """Write into ``slots`` from now on; None: nowhere."""
        self._slots = slots

    def connect(self, call: Hypercall, target: Callable[..., Any] | int) -> None:
        """Let ``target`` answer: a guarded Python function, or C code."""
        with self._lock:
            answer = Answer(call, target, self._seen, self._reporter)
            self._answers[call.name] = answer
            self._route(answer)

    def callback(self, call: Hypercall, function: Callable[..., Any]) -> int:
        """The address of C code that calls a guarded function, unseen."""
        return Answer(call, function, self._seen, self._reporter).plain

    def _route_all(self) -> None:
        for answer in self._answers.values():
            self._route(answer)

    def _route(self, answer: Answer) -> None:
        """Write into the slot what a call has to go through."""
        if self._slots is None:
            return
        call, trace, watcher = answer.call, self._trace, 0
        address = answer.plain
        if trace is not None and trace.detailed and call.name in TELLING:
            address = answer.observed
        elif trace is not None and trace.wants(call):
            if not answer.native:
                address = answer.observed
            elif self._taps.supported and not (trace.detailed and call.name in TOLD):
                address = trace.tap(call, address)
            elif call.noreturn or call.variadic:
                watcher = answer.watcher
            else:
                address = answer.observed
        if self._counting:
            address = self._counted(answer, address)
        if call.noreturn or call.variadic:
            self._slots.watch(call.name, watcher)
        self._slots.set(call.name, address)

    def _counted(self, answer: Answer, address: int) -> int:
        """What counts a call, and lets ``address`` answer it."""
        if self._taps.supported:
            thunk = self._taps.counted()[answer.call.name]
            thunk.target = address
            return thunk.address
        special = answer.call.noreturn or answer.call.variadic
        return address if answer.native and special else answer.observed

    def _seen(
        self,
        call: Hypercall,
        values: tuple[Any, ...],
        result: Any,
        start: int,
        duration: int | None,
    ) -> None:
        """A call that Python has seen."""
        if self._counting and not self._taps.supported:
            with self._lock:
                self._counts[call.name] = self._counts.get(call.name, 0) + 1
        trace = self._trace
        if trace is not None and call.name in TELLING:
            learn(call, start)
        if trace is not None and trace.wants(call):
            trace.finish(call, values, result, start, duration)
            if call.name == ENDING:
                trace.flush()

    @property
    def trace(self) -> Trace | None:
        """Where calls are recorded; may be set and cleared at any time."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        with self._lock:
            old, self._trace = self._trace, None
            if old is not None:
                self._route_all()
                old.detach()
            if trace is not None:
                trace.attach(self._taps)
                self._trace = trace
                self._route_all()

    @property
    def counting(self) -> bool:
        """Whether calls are counted; may be set and cleared at any time."""
        return self._counting

    @counting.setter
    def counting(self, on: bool) -> None:
        with self._lock:
            self._counting = on
            self._route_all()

    def counts(self) -> dict[str, int]:
        """Calls by name while `counting` was on, the most frequent first."""
        counts = dict(self._counts)
        if self._taps.supported:
            library = self._taps.counted()
            counts = {name: library[name].count for name in CATALOGUE}
        items = [(name, count) for name, count in counts.items() if count]
        return dict(sorted(items, key=lambda item: (-item[1], item[0])))


def learn(call: Hypercall, start: int) -> None:
    """Take note of the thread that makes ``call``, or of the one that it made."""
    if call.name == "rumpuser_thread_create":
        THREADS.look(since=start)
    else:
        THREADS.here()
