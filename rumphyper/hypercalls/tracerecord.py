"""One hypercall that was made: its record, as objects and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from rumphyper.host.recorder import Record as Words
from rumphyper.hypercalls import printf
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.show import View
from rumphyper.hypercalls.threadname import THREADS

NAME = 15
"""Characters of a thread's name that a line shows: as many as Linux keeps."""


@attrs.frozen
class Record:
    """One call that was made."""

    seq: int
    """Position among all calls of the trace, from 1, in the order they ended."""

    thread: int
    """The host's thread id (gettid(2)); of a thread that was gone before anybody
    looked, what pthread_self(3) was there."""

    thread_name: str
    """``?`` where it is not known."""

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

    @property
    def end(self) -> int:
        """Nanoseconds since the trace began."""
        return self.start + self.duration

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

    def add(self, other: Total) -> None:
        """Add what other calls amount to."""
        self.calls += other.calls
        self.errors += other.errors
        self.nanoseconds += other.nanoseconds


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


def show_result(call: Hypercall, value: Any, *, returned: bool) -> str:
    """The result of a call as text: ``?`` where there is none to be seen."""
    if call.result.ctype is None and not call.noreturn:
        return ""
    if not returned:
        return "?"
    return call.result.show(value, View(live=True))


def from_words(words: Words, began: int) -> Record:
    """The record of what a thunk has written, without its place in the order.

    Memory is not looked at: what pointers pointed to may have changed.
    """
    call = CATALOGUE[words.symbol]
    pairs = zip(call.arguments, words.arguments, strict=False)
    values = [argument.type.from_word(word) for argument, word in pairs]
    returned = words.result is not None
    result = call.result.from_word(words.result or 0)
    return Record(
        0,
        *THREADS.who(words.thread, words.end),
        words.symbol,
        describe(call, values, live=False, done=returned),
        show_result(call, result, returned=returned),
        result if call.fails_with_errno and returned else 0,
        words.start - began,
        words.end - words.start,
    )
