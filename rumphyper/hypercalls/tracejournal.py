"""The records of a trace in the order in which the calls ended."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from rumphyper.hypercalls.tracerecord import Record
from rumphyper.hypercalls.tracesink import Sink

WAITING = 1 << 18
"""Records that may wait until they are handed on."""


class Journal:
    """Brings records of two origins into one order, keeps and hands them on.

    Those that Python makes come one by one, from any thread, and wait; those
    of a ring come with `enter`, which is for one thread at a time.
    """

    def __init__(self, keep: int, sinks: Iterable[Sink]) -> None:
        self.kept: deque[Record] = deque(maxlen=keep)
        """The newest records, oldest first."""

        self.lost = 0
        """Records that could not wait any longer to be handed on."""

        self.sinks = list(sinks)
        self.failures: list[tuple[Sink, Exception]] = []
        """Sinks that have raised, and what; they get nothing more."""

        self._limit = WAITING if self.sinks else keep
        self._waiting: deque[Record] = deque()
        self._skipped = 0
        self._late: list[Record] = []
        self._told = 0
        self._seq = 0
        self.renew()

    def renew(self) -> None:
        """Make a new lock, whoever holds the old one."""
        self.lock = threading.Lock()

    def add(self, record: Record) -> None:
        """A record made by Python. Never waits for a sink."""
        with self.lock:
            self._waiting.append(record)
            if len(self._waiting) > self._limit:
                self._waiting.popleft()
                if self.sinks:
                    self.lost += 1
                else:
                    self._skipped += 1

    def enter(
        self, others: Iterable[Record], skipped: int, lost: int, until: int | None
    ) -> None:
        """Put what waits and what a ring has into one order, and hand it on.

        ``skipped`` records were there before and are not kept; of ``lost``
        calls in all there is none. What ended after ``until`` stays behind:
        records that belong before it may still come.
        """
        with self.lock:
            waiting, self._waiting = self._waiting, deque()
            skipped += self._skipped
            self._skipped = 0
        records = sorted([*self._late, *waiting, *others], key=lambda one: one.end)
        ready = len(records)
        if until is not None:
            while ready and records[ready - 1].end > until:
                ready -= 1
        self._late = records[ready:]
        first = self._seq + skipped + 1
        self._seq += skipped + ready
        numbered = [
            attrs.evolve(record, seq=seq)
            for seq, record in enumerate(records[:ready], first)
        ]
        self.kept.extend(numbered)
        self._hand_on(numbered, lost - self._told)
        self._told = lost

    def _hand_on(self, records: Sequence[Record], lost: int) -> None:
        for sink in list(self.sinks):
            try:
                if lost > 0:
                    sink.lose(lost)
                if records:
                    sink.write(records)
            except Exception as error:  # closed, or a pipe without reader, ...
                self.failures.append((sink, error))
                self.sinks.remove(sink)
