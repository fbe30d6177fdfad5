"""Recording hypercalls: who called what, with which arguments and result.

Set as the trace of a `Hypervisor`, a `Trace` gets every call. What Python sees
is put into words while the call's memory is still valid; what thunks record
lies in a ring until somebody asks for it. The two are brought into one order by
time. With a stream, or another sink, a thread hands the records on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TextIO

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls import tracechrome, tracefork, tracesummary
from rumphyper.hypercalls.catalogue import lookup, members
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.taps import Taps
from rumphyper.hypercalls.threadname import THREADS, Identity
from rumphyper.hypercalls.tracejournal import Journal
from rumphyper.hypercalls.tracerecord import Record, Total, describe, show_result
from rumphyper.hypercalls.tracering import RingSide, add_totals
from rumphyper.hypercalls.tracesink import Sink, Text
from rumphyper.hypercalls.tracewriter import Writer

__all__ = ["KEEP", "Record", "Total", "Trace", "describe"]

KEEP = 25_000
"""Records that a trace keeps unless it is told otherwise."""


class Trace:
    """Records calls: as text on ``stream``, as objects, as totals per name.

    ``families`` and ``names`` (with or without prefix) limit it to those; both
    given, a call is recorded when either names it. ``threads`` limit it to
    threads by name (``*`` and ``?`` as in a shell) or id. ``keep`` is how many
    of the newest records are kept; 0 keeps none and, without a stream, costs
    less. ``slower_than`` drops records of shorter calls (seconds); they are
    counted all the same. ``sinks`` get the records, too.

    A trace records one hypervisor at a time. Raises UnsupportedError for a
    family or name that is not in the catalogue.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        families: Collection[str] = (),
        names: Collection[str] = (),
        threads: Collection[str | int] = (),
        keep: int = KEEP,
        slower_than: float = 0.0,
        sinks: Iterable[Sink] = (),
    ) -> None:
        wanted = {call.name for family in families for call in members(family)}
        wanted.update(lookup(name).name for name in names)
        self._wanted = wanted if families or names else None
        self._threads = tuple(map(str, threads))
        self._text = Text(stream) if stream is not None else None
        self._stream = stream
        sinks = [*([self._text] if self._text else []), *sinks]
        self._prompt = bool(sinks or threads)
        self.detailed = self._prompt or keep > 0
        """Whether there are records, or totals only."""

        self._slower_than = int(slower_than * 1e9)
        self._journal = Journal(keep, sinks)
        # Of a thread's calls all count, but a thunk does not know them.
        threshold = 0 if threads else self._slower_than
        self._ring = RingSide(keep, self._prompt, threshold)
        self._totals: dict[str, Total] = {}
        self._began = time.monotonic_ns()
        self._process = os.getpid()
        self._writer: Writer | None = None
        self.renew()
        tracefork.watch(self)

    def renew(self) -> None:
        """Make new locks, whoever holds the old ones."""
        # Reentrant, for a signal handler may ask for the counts.
        self._lock = threading.RLock()
        self._collecting = threading.RLock()
        self._journal.renew()

    def hold(self, patience: float) -> bool:
        """Keep other threads out until `let_go`; false if that takes too long."""
        end = time.monotonic() + patience
        held: list[Any] = []
        # Busy threads take these locks again before one that waits is awake.
        for lock in (self._collecting, self._lock, self._journal.lock):
            if not lock.acquire(timeout=max(0, end - time.monotonic())):
                for one in reversed(held):
                    one.release()
                return False
            held.append(lock)
        return True

    def let_go(self) -> None:
        """Let other threads in again."""
        self._journal.lock.release()
        self._lock.release()
        self._collecting.release()

    def wants(self, call: Hypercall) -> bool:
        """Whether calls of ``call`` are recorded."""
        return self._wanted is None or call.name in self._wanted

    def attach(self, taps: Taps) -> None:
        """Begin to record a hypervisor. UnsupportedError while it has another."""
        with self._collecting:
            if self._ring.attached:
                raise UnsupportedError(
                    "trace", "it records another hypervisor", "make one for each"
                )
            self._ring.attach(taps)
        THREADS.look()
        self._process = os.getpid()
        if self._prompt:
            self._writer = Writer(self.flush)

    def tap(self, call: Hypercall, target: int) -> int:
        """The address of a thunk that records calls of C code at ``target``."""
        with self._collecting:
            return self._ring.aim(call, target)

    def detach(self) -> None:
        """The end of recording: no call comes any more."""
        if self._writer is not None:
            self._writer.stop()
            self._writer = None
        with self._collecting, self._lock:
            self._ring.detach()
        if self._prompt:
            self._collect()

    def finish(
        self,
        call: Hypercall,
        values: Sequence[Any],
        result: Any,
        start: int,
        duration: int | None,
    ) -> None:
        """A call that Python has seen; ``duration`` is None if it won't return."""
        if self._threads and not self._passes(THREADS.here()):
            return
        returned, spent = duration is not None, duration or 0
        errno = int(result) if call.fails_with_errno and returned else 0
        self._count(call.name, errno, spent)
        if not self.detailed or spent < self._slower_than:
            return
        self._journal.add(
            Record(
                0,
                *THREADS.here(),
                call.name,
                describe(call, values, live=True, done=returned and errno == 0),
                show_result(call, result, returned=returned),
                errno,
                start - self._began,
                spent,
            )
        )

    def _count(self, name: str, errno: int, nanoseconds: int) -> None:
        with self._lock:
            total = self._totals.get(name)
            if total is None:
                total = self._totals[name] = Total()
            total.calls += 1
            total.errors += errno != 0
            total.nanoseconds += nanoseconds

    def _passes(self, identity: Identity) -> bool:
        number, name = identity
        wanted = self._threads
        return str(number) in wanted or any(fnmatchcase(name, one) for one in wanted)

    def flush(self) -> None:
        """Hand on to stream and sinks what has been recorded until now."""
        if self._prompt:
            self._collect(time.monotonic_ns() - self._began)

    def _collect(self, until: int | None = None) -> None:
        """Bring the records of both sides together, those that ended by then."""
        with self._collecting:
            if os.getpid() != self._process:  # what comes out twice is wrong
                self._journal.sinks.clear()
            self._ring.gather()
            if self._ring.waiting:
                THREADS.look()
            records, skipped = self._ring.collect(self._began)
            if self._threads:
                records = self._of_threads(records)
            self._journal.enter(records, skipped, self.lost, until)

    def _of_threads(self, records: list[Record]) -> list[Record]:
        """Those of the wanted threads that took long enough; count them all."""
        found = []
        for record in records:
            if self._passes((record.thread, record.thread_name)):
                self._count(record.name, record.errno, record.duration)
                if record.duration >= self._slower_than:
                    found.append(record)
        return found

    @property
    def stream(self) -> TextIO | None:
        """Where the text goes; None without, and once it could not be written."""
        return self._stream if self._text in self._journal.sinks else None

    @property
    def failures(self) -> list[tuple[Sink, Exception]]:
        """Sinks that have raised, and what; they have got nothing since."""
        return list(self._journal.failures)

    @property
    def records(self) -> list[Record]:
        """The newest records, oldest first."""
        with self._collecting:
            self._collect()
            return list(self._journal.kept)

    @property
    def lost(self) -> int:
        """Calls without a record: the ring was full, or its reader too slow.

        What was dropped because newer records came (``keep``) is not lost.
        """
        with self._lock:
            return self._ring.lost + self._journal.lost

    def totals(self) -> dict[str, Total]:
        """Calls, errors and time by name, the most frequent first.

        Of all calls, also where records were lost; but of threads, if it is
        limited to some, only what has been recorded.
        """
        if self._threads:
            self.flush()
        totals: dict[str, Total] = {}
        with self._lock:
            add_totals(totals, self._totals)
            if not self._threads:
                add_totals(totals, self._ring.totals())
        return dict(sorted(totals.items(), key=lambda item: (-item[1].calls, item[0])))

    def counts(self) -> dict[str, int]:
        """Calls by name, the most frequent first."""
        return {name: total.calls for name, total in self.totals().items()}

    def summary(self, sort: str = "time") -> str:
        """A table like that of ``strace -c``, by time, calls, errors or name."""
        return tracesummary.summary(self.totals(), self.lost, sort)

    def chrome(self, file: str | os.PathLike[str] | TextIO) -> None:
        """Write `records` as Chrome trace JSON, which Perfetto opens, to a file."""
        if isinstance(file, (str, os.PathLike)):
            with open(file, "w", encoding="utf-8") as stream:
                tracechrome.write_chrome(stream, self.records, self.lost)
        else:
            tracechrome.write_chrome(file, self.records, self.lost)
