"""Recording hypercalls: who called what, with which arguments and result.

Given to a `Hypervisor`, a `Trace` gets every call wrapped in Python. Values
are turned into text while the call's memory is still valid, by the formatters
of the catalogue's types; the text looks like strace's.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, TextIO

import attrs

from rumphyper.hypercalls import printf
from rumphyper.hypercalls.catalogue import lookup, members
from rumphyper.hypercalls.ctype import ERRNO
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.show import View
from rumphyper.hypercalls.threadname import thread_identity
from rumphyper.hypercalls.threadstate import hold_thread_state

NAME = 15
"""Characters of a thread's name that a line shows: as many as Linux keeps."""

KEEP = 100_000
"""Records that a trace keeps unless it is told otherwise."""


@attrs.frozen
class Record:
    """One call that was made."""

    seq: int
    """Position among all calls of the trace, from 1, in the order they ended."""

    thread: int
    """The host's thread id (gettid(2))."""

    thread_name: str
    name: str
    arguments: tuple[str, ...]
    result: str
    """Empty for void, ``?`` for a call that does not return."""

    errno: int
    """The NetBSD errno that it returned, 0 for success and for other results."""

    start: int
    """Nanoseconds since the trace began."""

    duration: int
    """Nanoseconds."""

    def line(self) -> str:
        """The record as one line of text, like strace -f -r -T."""
        result = f" = {self.result}" if self.result else ""
        return (
            f"{self.start / 1e9:12.6f} [{self.thread} {self.thread_name[:NAME]}] "
            f"{self.name}({', '.join(self.arguments)}){result} "
            f"<{self.duration / 1e9:.6f}>"
        )

    def as_dict(self) -> dict[str, Any]:
        """The record for JSON."""
        return attrs.asdict(self)


@attrs.define(eq=False)
class Total:
    """What all calls of one name amount to."""

    calls: int = 0
    errors: int = 0
    nanoseconds: int = 0


def describe(
    call: Hypercall, values: Sequence[Any], *, live: bool, done: bool
) -> tuple[str, ...]:
    """The arguments of a call as text.

    ``values`` are what a callback got, or machine words that the call's types
    have converted (`CType.from_word`). ``live`` permits to read the call's
    memory, ``done`` says that out-parameters are filled.
    """
    texts = []
    for index, argument in enumerate(call.arguments):
        view = View(values, index, live, done)
        try:
            texts.append(argument.type.show(values[index], view))
        except Exception as error:  # a trace must not break the traced
            texts.append(f"<{type(error).__name__}>")
    if call.variadic:
        fixed = len(call.arguments)
        texts += _rest(values[fixed - 1], values[fixed:], live)
    return tuple(texts)


def _rest(format: Any, words: Sequence[int], live: bool) -> list[str]:
    """What follows the format of a variadic call."""
    try:
        return printf.arguments(format, words, live)
    except Exception as error:
        return [f"<{type(error).__name__}>"]


class Trace:
    """Records calls: as text on ``stream``, as objects, as counts per name.

    ``families`` and ``names`` (with or without prefix) limit it to those; both
    given, a call is recorded when either names it. ``keep`` is how many of the
    newest records are kept; 0 keeps none and, without a stream, saves the time
    to format them. ``slower_than`` drops records of shorter calls (seconds);
    they are counted all the same.

    Raises UnsupportedError for a family or name that is not in the catalogue.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        families: Collection[str] = (),
        names: Collection[str] = (),
        keep: int = KEEP,
        slower_than: float = 0.0,
    ) -> None:
        self.stream = stream
        wanted = {call.name for family in families for call in members(family)}
        wanted.update(lookup(name).name for name in names)
        self._wanted = wanted if families or names else None
        self._records: deque[Record] = deque(maxlen=keep)
        self._detailed = bool(keep) or stream is not None
        self._slower_than = int(slower_than * 1e9)
        self._totals: dict[str, Total] = {}
        self._seq = 0
        self._began = time.monotonic_ns()
        # Reentrant, for a signal handler may ask for the counts.
        self._lock = threading.RLock()

    def wants(self, call: Hypercall) -> bool:
        """Whether calls of ``call`` are recorded."""
        return self._wanted is None or call.name in self._wanted

    def wrap(self, call: Hypercall, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, recorded. It must not raise (see `guard`)."""
        if call.noreturn:
            note = self.note(call)

            def noted(*values: Any) -> Any:
                note(*values)
                return function(*values)

            return noted

        clock = time.monotonic_ns
        finish = self._finish

        def traced(*values: Any) -> Any:
            hold_thread_state()  # where C answers, nobody else has held it
            start = clock()
            result = function(*values)
            finish(call, values, result, start, clock() - start)
            return result

        return traced

    def note(self, call: Hypercall) -> Callable[..., int]:
        """A function that records a call before it is made; it returns 1.

        For calls that do not return, and those whose arguments cannot be
        passed on by Python.
        """

        def noted(*values: Any) -> int:
            try:
                self._finish(call, values, None, time.monotonic_ns(), 0, False)
            except BaseException:  # nothing may cross into C, nor stop the call
                pass
            return 1

        return noted

    def _finish(
        self,
        call: Hypercall,
        values: Sequence[Any],
        result: Any,
        start: int,
        duration: int,
        returned: bool = True,
    ) -> None:
        errno = int(result) if call.result is ERRNO and returned else 0
        with self._lock:
            total = self._totals.get(call.name)
            if total is None:
                total = self._totals[call.name] = Total()
            total.calls += 1
            total.errors += errno != 0
            total.nanoseconds += duration
        if not self._detailed or duration < self._slower_than:
            return
        thread, thread_name = thread_identity()
        arguments = describe(call, values, live=True, done=returned and errno == 0)
        if not returned:
            shown = "?"
        elif call.result.ctype is None:
            shown = ""
        else:
            shown = call.result.show(result, View(live=True))
        with self._lock:
            self._seq += 1
            record = Record(
                self._seq,
                thread,
                thread_name,
                call.name,
                arguments,
                shown,
                errno,
                start - self._began,
                duration,
            )
            self._records.append(record)
            if self.stream is not None:
                try:
                    self.stream.write(record.line() + "\n")
                except (OSError, ValueError):  # closed, or a pipe without reader
                    self.stream = None

    @property
    def records(self) -> list[Record]:
        """The newest records, oldest first."""
        with self._lock:
            return list(self._records)

    def counts(self) -> dict[str, int]:
        """Calls by name, the most frequent first."""
        return {name: total.calls for name, total in self.totals().items()}

    def totals(self) -> dict[str, Total]:
        """Calls, errors and time by name, the most frequent first."""
        with self._lock:
            items = [(name, attrs.evolve(t)) for name, t in self._totals.items()]
        return dict(sorted(items, key=lambda item: (-item[1].calls, item[0])))
