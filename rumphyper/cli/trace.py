"""``rumphyper trace``: run with every hypercall recorded, as strace does it."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import attrs

from rumphyper.cli import demo
from rumphyper.cli import run as runner
from rumphyper.cli.traceargs import duration, select
from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.hypercalls.tracechrome import Chrome
from rumphyper.hypercalls.tracesink import Json, Text
from rumphyper.hypercalls.tracesummary import ORDERS

if TYPE_CHECKING:
    from rumphyper.hypercalls.trace import Trace
    from rumphyper.hypercalls.tracesink import Sink

EPILOG = """\
SCRIPT and the options around it are those of `rumphyper run`. Without a script
and interfaces the demo runs. Examples: -e malloc,free; -e family=locks;
-e '!clock_gettime,%locks' for all but these. Perfetto (ui.perfetto.dev) opens
what --chrome writes.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments, then those of run."""
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", help="write there, not to standard error")
    add("-c", "--summary-only", action="store_true",
        help="a table of calls, errors and time at the end, no records")  # fmt: skip
    add("-C", "--summary", action="store_true", help="the records and the table")
    add("-S", "--summary-sort-by", choices=tuple(ORDERS), default="time",
        help="the order of the table (default: %(default)s)")  # fmt: skip
    add("--chrome", metavar="FILE",
        help="write Chrome trace JSON to FILE, and no text without -o")  # fmt: skip
    add("--json", action="store_true", dest="as_json",
        help="records as JSON lines; the table as an object")  # fmt: skip
    add("-e", "--trace", action="append", default=[], metavar="NAME,...",
        help="only these hypercalls; family=NAME,... only these families")  # fmt: skip
    add("--thread", action="append", default=[], metavar="NAME",
        help="only threads of this name (* and ? as in a shell) or id")  # fmt: skip
    add("--slower-than", type=duration, default=0.0, metavar="TIME",
        help="only calls that took longer, such as 100us")  # fmt: skip
    runner.add_arguments(parser)
    parser.epilog = EPILOG


def run(args: argparse.Namespace) -> int:
    """Run it; return its exit status."""
    names = select(args.trace) if args.trace else set()
    from rumphyper.hypercalls.trace import Trace

    with contextlib.ExitStack() as files:
        output = _Output(args, files)
        trace = Trace(
            names=names,
            threads=args.thread,
            slower_than=args.slower_than,
            keep=0,
            sinks=output.sinks,
        )
        try:
            status = _run(args, trace)
        finally:
            problem = output.finish(trace)
        if problem is not None:
            raise problem
        return status


def _run(args: argparse.Namespace, trace: Trace) -> int:
    if args.script or args.interface or args.serve:
        args.json = False
        return runner.run(args, trace)
    plain = argparse.ArgumentParser()
    runner.add_arguments(plain)
    for name, default in vars(plain.parse_args([])).items():
        if getattr(args, name) != default:
            option = f"--{name.replace('_', '-')}"
            remedy = "give a script, or an interface with -i"
            raise UnsupportedError(option, "it means nothing to the demo", remedy)
    plain = argparse.ArgumentParser()
    demo.configure(plain)
    return demo.run(plain.parse_args([]), trace)


class _Output:
    """Where the records go, and what comes at the end."""

    def __init__(self, args: argparse.Namespace, files: contextlib.ExitStack) -> None:
        """Open the files, before anything runs: what cannot be written is told."""
        self.args = args
        self.sinks: list[Sink] = []
        self._files = files
        self._names: dict[int, str] = {}
        self._ends: list[tuple[str, Callable[[], object]]] = []
        name, self._stream = "standard error", sys.stderr
        if args.output:
            name, self._stream = args.output, self._open(args.output)
        if args.chrome:
            chrome = Chrome(self._open(args.chrome))
            self._add(chrome, args.chrome)
            self._ends.append((args.chrome, chrome.close))
        if not args.summary_only and (args.output or not args.chrome):
            self._add((Json if args.as_json else Text)(self._stream), name)
        if args.summary_only or args.summary:
            self._ends.append((name, self._write_table))

    def _open(self, path: str) -> TextIO:
        stream = open(path, "w", encoding="utf-8")  # noqa: SIM115
        self._files.callback(_close, stream)
        return stream

    def _add(self, sink: Sink, name: str) -> None:
        self.sinks.append(sink)
        self._names[id(sink)] = name

    def finish(self, trace: Trace) -> RumphyperError | None:
        """Write what is left; the error that says what could not be written."""
        self._trace = trace
        trace.flush()
        failures = [(self._names[id(sink)], error) for sink, error in trace.failures]
        for name, end in self._ends:
            try:
                end()
            except OSError as error:
                failures.append((name, error))
        for name, failure in failures:
            if not isinstance(failure, BrokenPipeError):  # `2>&1 | head`
                text = getattr(failure, "strerror", None) or str(failure)
                return RumphyperError(name, text, "write somewhere else")
        return None

    def _write_table(self) -> None:
        trace, stream = self._trace, self._stream
        if self.args.as_json:
            totals = {name: attrs.asdict(one) for name, one in trace.totals().items()}
            stream.write(json.dumps({"totals": totals, "lost": trace.lost}) + "\n")
        else:
            stream.write(trace.summary(self.args.summary_sort_by))
        stream.flush()


def _close(stream: TextIO) -> None:
    """Close a file; what it could not write has been told."""
    with contextlib.suppress(OSError):
        stream.close()
