"""``rumphyper bridge``: join two or more links."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from rumphyper.bridge import Bridge, Settings
from rumphyper.bridge.table import AGEING, MOST
from rumphyper.cli.common import Stop, period, positive, print_json, seconds


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("linkstrs", nargs="+", metavar="LINKSTR", help="two or more")
    add = parser.add_argument
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--hub", dest="mode", action="store_const", const="hub",
        help="every frame goes everywhere; default: learn addresses")  # fmt: skip
    mode.add_argument("--patch", dest="mode", action="store_const", const="patch",
        help="two links as one wire; netmap's move descriptors, not bytes")  # fmt: skip
    add("--full", choices=("drop", "wait"), default="drop",
        help="when a link's queue is full: drop frames, or have who sends wait "
        "(default drop)")  # fmt: skip
    add("--wait", choices=("adaptive", "epoll", "busy"), default="adaptive",
        help="for frames: asleep, awake, or as it pays (default adaptive)")  # fmt: skip
    add("--ageing", type=seconds, default=AGEING, metavar="SECONDS",
        help=f"until a silent address is forgotten (default {AGEING:g})")  # fmt: skip
    add("--addresses", type=positive, default=MOST, metavar="COUNT",
        help=f"learnt at most (default {MOST})")  # fmt: skip
    add("--vlan", action="store_true", help="learn addresses for each VLAN by itself")
    add("--storm", type=positive, default=0, metavar="FRAMES",
        help="broadcast and multicast frames a second from each link, at most "
        "(default: no limit)")  # fmt: skip
    add("--loop-check", type=seconds, default=5.0, metavar="SECONDS",
        help="between two probes for loops (default 5; 0: none)")  # fmt: skip
    add("--reopen", action="store_true", help="open links again that died")
    add("--duration", type=seconds, metavar="SECONDS", help="stop after this time")
    add("--stats-period", type=period, metavar="SECONDS",
        help="print the counters so often")  # fmt: skip
    add("--json", action="store_true",
        help="an object for each event, each period, and the summary")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Move frames until the time, a signal, or the end of the links."""
    settings = Settings(
        mode=args.mode or "learn",
        full=args.full,
        waiting=args.wait,
        ageing=args.ageing,
        addresses=args.addresses,
        vlan=args.vlan,
        storm=args.storm,
        loop_check=args.loop_check,
        reopen=args.reopen,
    )
    events = Events(args.json)
    with Stop() as stop, Bridge(args.linkstrs, settings, events) as bridge:
        for line in bridge.mtu_differences():
            events(line)
        if not args.json:
            print(f"bridging {', '.join(args.linkstrs)}", flush=True)
        table = Table(bridge, args.json)
        asked = bridge.run(stop, args.duration, args.stats_period, table.stats)
        over = all(port.alive or port.ended for port in bridge.ports)
        summary = bridge.as_dict()
    table.summary(summary)
    return 0 if asked or over else 1


class Events:
    """Tells of what happens: as objects, or as lines on standard error."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def __call__(self, line: str) -> None:
        text = " ".join(line.splitlines())
        if self._json:
            print_json({"event": text})
        else:
            print(f"rumphyper bridge: {text}", file=sys.stderr, flush=True)


COLUMNS = ("received", "sent", "full", "oversize", "refused", "dropped")
"""The counters on the screen; --json has all of them."""


class Table:
    """The counters on standard output."""

    def __init__(self, bridge: Bridge, json: bool) -> None:
        self._bridge = bridge
        self._json = json
        self._last: dict[str, Any] = bridge.as_dict()

    def stats(self) -> None:
        """Print the counters, with rates since the last time."""
        now: dict[str, Any] = self._bridge.as_dict()
        last, self._last = self._last, now
        if self._json:
            print_json({"stats": now})
            return
        took = max(now["seconds"] - last["seconds"], 1e-9)
        print(f"\n{now['seconds']:.1f} s")
        for port, before in zip(now["ports"], last["ports"], strict=True):
            rates = ", ".join(
                f"{(port[way] - before[way]) / took:,.0f} {way}/s"
                for way in ("received", "sent")
            )
            print(f"{_line(port)}; {rates}")
        sys.stdout.flush()

    def summary(self, now: dict[str, Any]) -> None:
        """Print the counters at the end."""
        if self._json:
            print_json({"summary": now})
            return
        print(f"\n--- bridge of {len(now['ports'])} links, {now['seconds']:.1f} s ---")
        for port in now["ports"]:
            print(_line(port))
        others = {k: v for k, v in now.items() if k not in ("seconds", "ports")}
        print(", ".join(f"{name} {value}" for name, value in others.items()))


def _line(port: dict[str, Any]) -> str:
    counts = ", ".join(f"{name} {port[name]}" for name in COLUMNS)
    return f"{port['link']} ({port['state']}): {counts}"
