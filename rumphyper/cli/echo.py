"""``rumphyper echo``: a station that answers ARP, pings and UDP echo on any link."""

from __future__ import annotations

import argparse
import time
from ipaddress import IPv4Interface, IPv6Interface

from rumphyper.cli.common import (
    Stop,
    interface_argument,
    mac_argument,
    positive,
    print_json,
    seconds,
)
from rumphyper.errors import LinkEndedError
from rumphyper.link import Link, open_link
from rumphyper.net.mac import format_mac
from rumphyper.net.stack import Stack

ECHOES = ("icmp", "icmp6", "udp")
"""The kinds of answers that -c counts: those to pings and UDP echo."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("linkstr", metavar="LINKSTR")
    add = parser.add_argument
    add("-a", dest="own", type=interface_argument, action="append", default=[],
        metavar="ADDRESS[/PREFIX]",
        help="an own address, may be repeated (/24 and /64 when no prefix is given; "
        "the IPv6 link-local one is always there)")  # fmt: skip
    add("-c", dest="count", type=positive, metavar="COUNT",
        help="stop after so many echoes")  # fmt: skip
    add("--duration", type=seconds, metavar="SECONDS", help="stop after this time")
    add("--mac", type=mac_argument, help="own Ethernet address (default: the link's)")
    add("--json", action="store_true", help="print one object at the end")


def run(args: argparse.Namespace) -> int:
    """Answer until the count, the time or somebody ends it."""
    with Stop() as stop, open_link(args.linkstr) as link:
        stack = Stack(
            args.mac or link.mac,
            [own for own in args.own if isinstance(own, IPv4Interface)],
            [own for own in args.own if isinstance(own, IPv6Interface)],
        )
        addresses = [str(own) for own in (*stack.ipv4, *stack.ipv6)]
        if not args.json:
            print(
                f"answering on {args.linkstr} as {format_mac(stack.mac)}: "
                f"{', '.join(addresses)}",
                flush=True,
            )
        begin = time.monotonic()
        try:
            _loop(link, stack, stop, args.count, args.duration)
        except LinkEndedError:
            pass  # what was answered so far counts
        elapsed = time.monotonic() - begin
        if args.json:
            print_json(
                {
                    "link": args.linkstr,
                    "mac": format_mac(stack.mac),
                    "addresses": addresses,
                    "answered": stack.answered,
                    **link.counters.as_dict(),
                    "seconds": round(elapsed, 3),
                }
            )
        else:
            kinds = ", ".join(f"{kind} {n}" for kind, n in stack.answered.items())
            counters = link.counters
            print(
                f"\n{counters.received} frames received, {counters.dropped} dropped, "
                f"{counters.sent} sent: {kinds}, time {elapsed * 1000:.0f}ms"
            )
        return 1 if args.count and _echoes(stack) < args.count else 0


def _echoes(stack: Stack) -> int:
    return sum(stack.answered[kind] for kind in ECHOES)


def _loop(
    link: Link, stack: Stack, stop: Stop, count: int | None, duration: float | None
) -> None:
    end = None if duration is None else time.monotonic() + duration
    while count is None or _echoes(stack) < count:
        left = None if end is None else end - time.monotonic()
        if (left is not None and left <= 0) or not stop.wait(link.fileno(), left):
            return
        answers: list[bytes] = []
        for frame in link.recv(timeout=0):
            answers += stack.input(frame)
            if count is not None and _echoes(stack) >= count:
                break
        if answers:
            link.send(answers)  # what a full queue does not take is lost, as on a wire
