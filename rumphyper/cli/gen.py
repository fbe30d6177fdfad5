"""``rumphyper gen``: send, receive, ping and pong numbered frames on any link."""

from __future__ import annotations

import argparse
import os
import sys

from rumphyper.cli.common import (
    Stop,
    mac_argument,
    period,
    positive,
    print_json,
    seconds,
)
from rumphyper.cli.genargs import range_argument, rate, times
from rumphyper.cli.genjobs import JOBS, Figures
from rumphyper.errors import LinkEndedError, RumphyperError
from rumphyper.link import open_link
from rumphyper.link.pcapread import PcapReader
from rumphyper.net.mac import BROADCAST


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("function", choices=("tx", "rx", "ping", "pong"))
    parser.add_argument("linkstr", metavar="LINKSTR")
    add = parser.add_argument
    add(
        "-n",
        dest="count",
        type=positive,
        metavar="COUNT",
        help="frames; default: no end",
    )
    add("-l", dest="length", type=positive, default=60, metavar="OCTETS",
        help="of each frame, without FCS (default 60)")  # fmt: skip
    add("-R", dest="rate", type=rate, metavar="RATE",
        help="frames a second: 5000, 20k, 1.5M (default: as fast as can be; ping: "
        "each request after the answer before)")  # fmt: skip
    add("-b", dest="burst", type=positive, metavar="FRAMES", help="sent at once")
    add("-s", dest="source", type=range_argument, default="10.0.0.1", metavar="RANGE",
        help="ADDRESS[-ADDRESS][:PORT[-PORT]], 10.0.0.1:1234 by default")  # fmt: skip
    add("-d", dest="target", type=range_argument, default="10.1.0.1", metavar="RANGE",
        help="destination, likewise, 10.1.0.1:1234 by default")  # fmt: skip
    add("-S", dest="source_mac", type=mac_argument, metavar="MAC",
        help="Ethernet source (default: the link's)")  # fmt: skip
    add("-D", dest="target_mac", type=mac_argument, default=BROADCAST, metavar="MAC",
        help="Ethernet destination (default: broadcast)")  # fmt: skip
    add("--unnumbered", action="store_true",
        help="tx: the same frame again and again, from 42 octets on")  # fmt: skip
    add("--pcap", metavar="FILE", help="tx: the frames of a capture, with its timing")
    add("--speed", type=times, default=1.0, metavar="TIMES",
        help="of the capture's timing; 0: as fast as can be")  # fmt: skip
    add("--loop", type=positive, default=1, metavar="COUNT",
        help="how often to play the capture")  # fmt: skip
    add("-W", dest="timeout", type=seconds, default=1.0, metavar="SECONDS",
        help="ping: how long to wait for an answer (default 1)")  # fmt: skip
    add("--keep", action="store_true",
        help="rx: go on when all streams have told their end")  # fmt: skip
    add("--details", action="store_true",
        help="rx: which were lost, doubled, overtaken (with --json)")  # fmt: skip
    add("--busy", action="store_true", help="rx, ping, pong: do not sleep")
    add("--duration", type=seconds, metavar="SECONDS", help="stop after this time")
    add("--stats-period", type=period, metavar="SECONDS",
        help="tell so often how it goes (a terminal: each second)")  # fmt: skip
    add("--json", action="store_true",
        help="an object for each period, then the summary")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do what the function says; the summary comes whatever ends it."""
    with Stop() as stop, open_link(args.linkstr) as link:
        job = JOBS[args.function](args, link)
        if not args.json and args.function in ("rx", "pong"):
            print(f"{args.function} on {args.linkstr}", flush=True)  # it is there now
        every = args.stats_period
        if every is None and not args.json and os.isatty(2):
            every = 1.0
        try:
            job.run(stop, every, lambda: _show(args, job.progress()))
        except RumphyperError as error:
            if not (isinstance(error, LinkEndedError) and isinstance(link, PcapReader)):
                figures = job.summary()
                if args.json or next(iter(figures.values())):  # something was done
                    _summary(args, figures)
                raise
        finally:
            job.close()
        figures = job.summary()
    _summary(args, figures)
    return 0 if job.worked() else 1


def _show(args: argparse.Namespace, figures: Figures) -> None:
    """How it goes: to standard error, so that standard output is the result."""
    if args.json:
        print_json({"stats": figures})
    else:
        print(_line(figures), file=sys.stderr, flush=True)


def _summary(args: argparse.Namespace, figures: Figures) -> None:
    if args.json:
        print_json({"function": args.function, "link": args.linkstr, **figures})
    else:
        print(_line(figures), flush=True)


def _line(figures: Figures) -> str:
    """``sent 1,000 frames, 2,000 a second``: every figure that has a value."""
    parts = []
    for name, value in figures.items():
        if isinstance(value, dict):
            parts += [f"{name}.{key} {_text(each)}" for key, each in value.items()]
        elif value is not None and not isinstance(value, list):
            parts.append(f"{name} {_text(value)}")
    return ", ".join(parts)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)
