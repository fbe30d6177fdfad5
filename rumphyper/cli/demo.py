"""``rumphyper demo``: a kernel on a shared-memory bus answers ping."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rumphyper.cli.common import Stop, positive, print_json, seconds

if TYPE_CHECKING:
    from rumphyper.hypercalls.trace import Trace
    from rumphyper.kernel.demo import Recorder, Station
    from rumphyper.net.answer import Address
    from rumphyper.net.pinger import Summary

COUNT = 4
INTERVAL = 0.1

OPENING = """\
A kernel boots in this process. It asks for all that it needs, memory, threads,
locks, clocks and frames, by hypercalls: C functions, which Python answers.
"""

CLOSING = """
Where to go next:
    rumphyper demo --trace             each hypercall as it happens
    rumphyper demo --pcap demo.pcap    the frames, for tcpdump or Wireshark
    rumphyper hypercalls malloc        what a hypercall is for
    rumphyper doctor                   what else works on this host"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add = parser.add_argument
    add("--kernel", choices=("auto", "mini", "netbsd"), default="auto",
        help="which kernel to boot (default: the best that is here)")  # fmt: skip
    add("--count", type=positive, default=COUNT, metavar="N",
        help=f"pings to each of its two addresses (default {COUNT})")  # fmt: skip
    add("--interval", type=seconds, default=INTERVAL, metavar="SECONDS",
        help=f"between pings (default {INTERVAL}; 0: after each answer)")  # fmt: skip
    add("--pcap", metavar="FILE", help="keep the frames of the bus in FILE")
    add("--trace", action="store_true",
        help="show each hypercall as it happens, on standard error")  # fmt: skip
    add("--json", action="store_true", help="print one object at the end")


def run(args: argparse.Namespace, trace: Trace | None = None) -> int:
    """Boot, ping, sum up; 0 only when every ping was answered.

    ``trace`` records the hypercalls; without it they are counted or shown.
    """
    with Stop() as stop:  # first of all: from here on Ctrl-C ends with a summary
        return _Demo(args, stop, trace).run()


class _Demo:
    """One run of the demo, and what it prints."""

    def __init__(
        self, args: argparse.Namespace, stop: Stop, trace: Trace | None
    ) -> None:
        self.args = args
        self.trace = trace
        self.stop = stop
        self.began = time.monotonic()
        self.recorder: Recorder | None = None
        self.summaries: dict[Address, Summary] = {}

    def say(self, text: str = "") -> None:
        """A line for people; with --json there are none."""
        if not self.args.json:
            print(text, flush=True)

    def console(self, text: str) -> None:
        """What the kernel prints, set off from what the demo says."""
        try:
            for line in text.splitlines():
                self.say(f"    | {line}")
        except BrokenPipeError:
            pass  # inside a hypercall; the demo's own next line raises it again

    def run(self) -> int:
        self.say(OPENING)  # before the first import that takes its time
        from rumphyper.hypercalls.trace import Trace
        from rumphyper.kernel.demo import choose

        self.kernel = choose(self.args.kernel)
        trace = self.trace
        if trace is None:
            trace = Trace(sys.stderr if self.args.trace else None, keep=0)
        with ExitStack() as cleanup:
            self._boot_and_ping(trace, cleanup)
        elapsed = time.monotonic() - self.began
        if self.args.json:
            self._print_json(trace.counts(), elapsed)
        else:
            self._print(trace.counts(), elapsed)
        return 0 if self.sent and self.sent == self.received else 1

    @property
    def sent(self) -> int:
        return sum(summary.transmitted for summary in self.summaries.values())

    @property
    def received(self) -> int:
        return sum(summary.received for summary in self.summaries.values())

    def _boot_and_ping(self, trace: Trace, cleanup: ExitStack) -> None:
        """Boot and ping; ``cleanup`` gets what leaves nothing behind."""
        from rumphyper.kernel.demo import KERNELS, TARGETS, Recorder, Station
        from rumphyper.link import open_link

        if self.args.pcap:
            self.recorder = cleanup.enter_context(Recorder(self.args.pcap))
        folder = cleanup.enter_context(
            tempfile.TemporaryDirectory(prefix="rumphyper-demo-")
        )
        bus = f"{folder}/bus"
        self.say(f"The {self.kernel} kernel boots on the bus {bus}")
        # The station makes the bus: where that fails, nothing has booted yet.
        link = cleanup.enter_context(open_link(f"shmif:{bus}"))
        start = KERNELS[self.kernel]
        cleanup.enter_context(start(f"shmif:{bus}", trace, self.console))
        after = None
        if self.recorder is not None:
            self.recorder.watch(bus)
            after = self.recorder.poll
        station = Station(link, self.stop.wait, after, self.summaries)
        for target in TARGETS:
            if not self.stop.wanted:
                self._ping(station, target)
        self.say("\nThe kernel shuts down")

    def _ping(self, station: Station, target: Address) -> None:
        from rumphyper.cli.demotext import event_line

        self.say(f"\nA second station on the bus pings {target}")
        for event in station.ping(target, self.args.count, self.args.interval):
            self.say("    " + event_line(event))

    def _print_json(self, counts: dict[str, int], elapsed: float) -> None:
        from rumphyper.cli.demotext import by_family, figures, overall

        answer: dict[str, object] = {
            "kernel": self.kernel,
            "sent": self.sent,
            "received": self.received,
            "interrupted": self.stop.wanted,
            "rtt_ms": overall(list(self.summaries.values())),
            "pings": [figures(target, s) for target, s in self.summaries.items()],
            "hypercalls": counts,
            "families": by_family(counts),
            "seconds": round(elapsed, 3),
        }
        if self.recorder is not None:
            answer["pcap"] = self.args.pcap
            answer["frames"] = self.recorder.frames
            answer["missed"] = self.recorder.missed
        print_json(answer)

    def _print(self, counts: dict[str, int], elapsed: float) -> None:
        from rumphyper.cli.demotext import by_family, summary_line
        from rumphyper.hypercalls.catalogue import FAMILIES

        self.say("\nInterrupted." if self.stop.wanted else "")
        for target, summary in self.summaries.items():
            self.say(summary_line(target, summary))
        total, kinds = sum(counts.values()), len(counts)
        self.say(f"{total} hypercalls of {kinds} kinds in {elapsed:.2f} s:")
        for family, number in by_family(counts).items():
            self.say(f"    {number:6}  {family:12} {FAMILIES[family]}")
        if self.recorder is not None:
            frames = self.recorder.frames
            self.say(f"{frames} frames of the bus are in {self.args.pcap}")
        self.say(CLOSING)
