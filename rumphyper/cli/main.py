"""The ``rumphyper`` command: finds the subcommand, turns errors into one line.

Exit status: 0 the thing worked, 1 it ran but did not succeed (no answer to a
ping), 2 it could not be done (one line on standard error), 130 after Ctrl-C
where a command has no summary to give.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Container, Sequence
from importlib import import_module
from typing import Protocol, cast

from rumphyper import __version__
from rumphyper.errors import RumphyperError

VERBS = {
    "doctor": "what works on this host, and what to do about the rest",
    "run": "boot NetBSD with interfaces and run a script in it",
    "trace": "run with every hypercall recorded",
    "demo": "boot a kernel on a shared-memory bus and ping it",
    "ping": "ping a station over any link",
    "echo": "answer ARP and pings on any link",
    "dump": "show or record the frames of a link",
    "bridge": "join two or more links",
    "gen": "send, receive, ping or pong numbered frames on any link",
    "vale": "VALE switches: list, attach, detach, create, remove ports",
    "hypercalls": "the catalogue of hypercalls",
    "pci": "list, bind and look into PCI devices",
    "extcap": "links as interfaces of Wireshark",
    "bench": "run the benchmarks",
    "completion": "a script that lets a shell complete all this",
    "pack": "write one file that runs on any host with Python",
}


OUTPUT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What can happen to standard output: a full or a closed one."""


class Command(Protocol):
    """What each module of rumphyper.cli offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: sys.argv[1:])."""
    try:
        _fill_standard_streams()
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return 130
    finally:
        if argv is None and threading.current_thread() is threading.main_thread():
            # The program is over: a second Ctrl-C finds Python shutting down.
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _fill_standard_streams() -> None:
    """Open what of 0, 1 and 2 is closed, before a bus or a capture gets it.

    Standard output is then one that cannot be written: an error, not silence.
    """
    for fd, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)  # the lowest number that is free: fd
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def build_parser(loaded: Container[str]) -> argparse.ArgumentParser:
    """The command line; of the verbs that are ``loaded`` with their arguments."""
    parser = argparse.ArgumentParser(
        prog="rumphyper",
        description="NetBSD rump kernel hypercalls and network back ends in Python.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in VERBS.items():
        child = verbs.add_parser(
            verb,
            help=summary,
            description=summary,
            conflict_handler="resolve",  # a verb may have a -h of its own
        )
        if verb in loaded:
            command = cast(Command, import_module(f"rumphyper.cli.{verb}"))
            command.configure(child)
            child.set_defaults(run=command.run)
    return parser


def _main(words: list[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(
        {chosen} if chosen else ()
    )  # the other verbs' modules stay unloaded
    verb = parser.prog
    try:
        try:
            args = parser.parse_args(words)
            verb = f"{parser.prog} {args.verb}"
            status: int = args.run(args)
        finally:
            sys.stdout.flush()  # here it can still be told that it failed
    except RumphyperError as error:
        return _fail(verb, str(error))
    except BrokenPipeError:  # `rumphyper dump | head`: the reader has seen enough
        _drop_output()
        return 0
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            thing, remedy = "descriptors", "close others, or raise ulimit -n"
        elif error.filename is not None:
            thing, remedy = str(error.filename), "look at this file"
        elif error.errno in OUTPUT_ERRORS:
            _drop_output()
            thing, remedy = "standard output", "make room, or choose another place"
        else:
            thing, remedy = "the host refused a call", "please report it"
        return _fail(verb, f"{thing}: {error.strerror or error} ({remedy})")
    return status


def _fail(verb: str, text: str) -> int:
    """Say on one line why it could not be done; return the exit status."""
    print(f"{verb}: {' '.join(text.splitlines())}", file=sys.stderr)
    return 2


def _drop_output() -> None:
    """Let what is still to be printed go nowhere."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
