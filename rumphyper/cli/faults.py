"""``rumphyper run``: faults on purpose, recording and replay."""

from __future__ import annotations

import argparse
import faulthandler
import sys
from typing import TYPE_CHECKING, TextIO

from rumphyper.errors import RumphyperError
from rumphyper.hypercalls.faults import Attachment, Fault, parse_fault
from rumphyper.hypercalls.replay import Recorder, Replay

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel


def configure(parser: argparse.ArgumentParser) -> None:
    """Add ``--fault``, ``--record`` and ``--replay``."""
    group = parser.add_argument_group("what goes wrong on purpose (docs/faults.md)")
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="malloc:nth=3, getrandom:seed=7, virt_send:drop=1%%, "
        "clock:offset=1h,rate=2, bio:delay=5ms, ...; may be given again",
    )
    group.add_argument(
        "--record", metavar="FILE", help="keep the answers that can be replayed"
    )
    group.add_argument("--replay", metavar="FILE", help="give the answers of FILE")
    group.add_argument(
        "--strict",
        action="store_true",
        help="what is not in the recording fails, and so does the command",
    )


def attachments(args: argparse.Namespace) -> list[Attachment]:
    """What the arguments ask for, in the order in which it stands in front.

    Raises RumphyperError for what cannot be.
    """
    found: list[Attachment] = []
    if args.replay:
        found.append(Replay(args.replay, args.strict))
    elif args.strict:
        raise RumphyperError("--strict", "there is nothing to replay", "add --replay")
    for text in args.fault:
        fault = parse_fault(text)
        fault.tell = tell
        found.append(fault)
    if args.fault and not faulthandler.is_enabled():
        faulthandler.enable()  # a kernel may crash of it: say where
    if args.record:
        found.append(Recorder(args.record))
    return found


def tell(line: str) -> None:
    """A line on the error output, which is not lost when the kernel crashes."""
    print(f"rumphyper: {line}", file=sys.stderr, flush=True)


def end(kernel: Kernel) -> None:
    """Take away what would disturb the kernel's end; what came of it stays."""
    kernel.provided.end_attachments()


def as_dict(kernel: Kernel) -> dict[str, object]:
    """What came of it, for ``--json``; nothing where nothing was asked for."""
    found: dict[str, object] = {}
    faults = [one.as_dict() for one in kernel.attachments if isinstance(one, Fault)]
    if faults:
        found["faults"] = faults
    for one in kernel.attachments:
        if isinstance(one, Recorder):
            found["record"] = one.as_dict()
        elif isinstance(one, Replay):
            found["replay"] = one.as_dict()
    return found


def show(kernel: Kernel, stream: TextIO) -> None:
    """What came of it, a line each."""
    for one in kernel.attachments:
        if isinstance(one, Fault):
            late = f", {one.waited:.3f} s late" if one.waited else ""
            line = f"fault {one.text}: {one.injected} of {one.calls} calls{late}"
        elif isinstance(one, Recorder):
            line = f"recorded: {one.answers} answers in {one.path}"
        elif isinstance(one, Replay):
            line = (
                f"replayed: {one.replayed} of {one.answers} answers, "
                f"{one.departures} departures"
            )
        else:
            continue
        print(line, file=stream, flush=True)


def status(kernel: Kernel | None, code: int) -> int:
    """The command's exit status: 1 in place of 0 when a strict replay departed."""
    for one in kernel.attachments if kernel is not None else ():
        if isinstance(one, Replay) and one.strict and one.departures:
            return code or 1
    return code
