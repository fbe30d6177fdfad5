"""Where a trace hands its records on while the kernel runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol, TextIO

from rumphyper.hypercalls.tracerecord import Record


class Sink(Protocol):
    """Gets every record once, in order; see `rumphyper.hypercalls.trace.Trace`.

    What it raises ends it: the trace goes on without.
    """

    def write(self, records: Sequence[Record]) -> None:
        """Take the next records."""

    def lose(self, count: int) -> None:
        """Between the last records and the next, ``count`` calls have none."""


def lost_line(count: int) -> str:
    """What a text says where records are missing."""
    return f"+++ {count} records lost +++"


class Text:
    """Lines like strace's on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[Record]) -> None:
        """One line for each."""
        self._stream.write("".join(f"{record.line()}\n" for record in records))
        self._stream.flush()

    def lose(self, count: int) -> None:
        """One line."""
        self._stream.write(lost_line(count) + "\n")


class Json:
    """An object for each record on a line of its own (JSON lines)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, records: Sequence[Record]) -> None:
        """One line for each, with the names of the record's attributes."""
        lines = (json.dumps(record.as_dict()) for record in records)
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()

    def lose(self, count: int) -> None:
        """One line with an object that has only ``lost``."""
        self._stream.write(json.dumps({"lost": count}) + "\n")
