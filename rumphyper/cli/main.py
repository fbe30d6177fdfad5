"""The ``rumphyper`` command: finds the subcommand, turns errors into one line.

Exit status: 0 the thing worked, 1 it ran but did not succeed (no answer to a
ping), 2 it could not be done (one line on standard error), 130 after Ctrl-C
where a command has no summary to give.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from rumphyper import __version__
from rumphyper.errors import RumphyperError

VERBS = {
    "doctor": "what works on this host, and what to do about the rest",
    "run": "boot NetBSD with interfaces and run a script in it",
    "demo": "boot a kernel on a shared-memory bus and ping it",
    "ping": "ping a station over any link",
    "echo": "answer ARP and pings on any link",
    "dump": "show or record the frames of a link",
    "hypercalls": "the catalogue of hypercalls",
    "bench": "run the benchmarks",
}


class Command(Protocol):
    """What each module of rumphyper.cli offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: sys.argv[1:])."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return 130
    finally:
        if argv is None and threading.current_thread() is threading.main_thread():
            # The program is over: a second Ctrl-C finds Python shutting down.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="rumphyper",
        description="NetBSD rump kernel hypercalls and network back ends in Python.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for verb, summary in VERBS.items():
        child = verbs.add_parser(verb, help=summary, description=summary)
        if verb == chosen:  # the other verbs' modules stay unloaded
            command = cast(Command, import_module(f"rumphyper.cli.{verb}"))
            command.configure(child)
    args = parser.parse_args(words)
    try:
        return command.run(args)
    except RumphyperError as error:
        print(f"rumphyper {args.verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `rumphyper dump | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
