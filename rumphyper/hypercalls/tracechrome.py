"""Records as Chrome trace events, for Perfetto (ui.perfetto.dev) and the like.

The format is the JSON object of the "Trace Event Format": a complete event
("X", times in microseconds) for each call, metadata ("M") for the names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.tracerecord import Record

PROCESS = "rump kernel"


class Chrome:
    """A sink that writes the format as the records come; `close` completes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0
        self._threads: dict[int, str] = {}
        process = _metadata("process_name", os.getpid(), PROCESS)
        stream.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        stream.write(json.dumps(process))

    def write(self, records: Sequence[Record]) -> None:
        """One event for each, and one for each thread with a new name."""
        events = (event for record in records for event in self._events(record))
        self._stream.write("".join(f",\n{json.dumps(event)}" for event in events))

    def lose(self, count: int) -> None:
        """Add to ``lost`` in ``otherData``."""
        self._lost += count

    def close(self) -> None:
        """Write the end. The stream stays open."""
        self._stream.write(f'\n], "otherData": {{"lost": {self._lost}}}}}\n')
        self._stream.flush()

    def _events(self, record: Record) -> Iterator[dict[str, Any]]:
        if self._threads.get(record.thread) != record.thread_name:
            self._threads[record.thread] = record.thread_name
            yield _metadata("thread_name", record.thread, record.thread_name)
        yield event(record)


def event(record: Record) -> dict[str, Any]:
    """The complete event of a call."""
    call = CATALOGUE[record.name]
    names = [argument.name for argument in call.arguments]
    more = range(1, 1 + len(record.arguments) - len(names))
    pairs = zip([*names, *(f"...{n}" for n in more)], record.arguments, strict=True)
    answer = {"result": record.result} if record.result else {}
    return {
        "name": record.name,
        "cat": call.family,
        "ph": "X",
        "ts": record.start / 1000,
        "dur": record.duration / 1000,
        "pid": os.getpid(),
        "tid": record.thread,
        "args": {**dict(pairs), **answer},
    }


def _metadata(kind: str, thread: int, name: str) -> dict[str, Any]:
    return {
        "name": kind,
        "ph": "M",
        "pid": os.getpid(),
        "tid": thread,
        "args": {"name": name},
    }


def write_chrome(stream: TextIO, records: Sequence[Record], lost: int) -> None:
    """All of a trace at once."""
    chrome = Chrome(stream)
    chrome.write(records)
    chrome.lose(lost)
    chrome.close()
