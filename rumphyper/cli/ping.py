"""``rumphyper ping``: ping a station over any link, from a station of its own."""

from __future__ import annotations

import argparse
import time
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from rumphyper.cli.common import (
    Stop,
    interface_argument,
    mac_argument,
    positive,
    print_json,
    seconds,
)
from rumphyper.errors import FrameError, LinkEndedError
from rumphyper.link import Link, open_link
from rumphyper.net.answer import Address
from rumphyper.net.pinger import Lost, Pinger, Reply
from rumphyper.net.stack import Stack


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("linkstr", metavar="LINKSTR")
    parser.add_argument("address", type=_target, metavar="ADDRESS", help="whom to ping")
    add = parser.add_argument
    add("-c", dest="count", type=positive, metavar="COUNT", help="stop after so many")
    add("-i", dest="interval", type=seconds, default=1.0, metavar="SECONDS",
        help="time between two requests (default 1; 0: after each answer)")  # fmt: skip
    add("-s", dest="size", type=int, default=56, metavar="OCTETS",
        help="payload of each request (default 56)")  # fmt: skip
    add("-W", dest="timeout", type=seconds, default=1.0, metavar="SECONDS",
        help="how long to wait for an answer (default 1)")  # fmt: skip
    add("-I", dest="own", type=interface_argument, metavar="ADDRESS[/PREFIX]",
        help="own address (default: the target's /24 with .254, or .253; IPv6: the "
        "link-local one)")  # fmt: skip
    add("--mac", type=mac_argument, help="own Ethernet address (default: the link's)")
    add("--json", action="store_true", help="print one object at the end")


def _target(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if isinstance(address, IPv6Address):  # a scope has no meaning on a link
        return IPv6Address(address.packed)
    return address


def _station(args: argparse.Namespace, mac: bytes) -> Stack:
    """The station that asks."""
    own = args.own
    if own is None and isinstance(args.address, IPv4Address):
        network = IPv4Interface(f"{args.address}/24").network
        first, second = network[254], network[253]
        own = IPv4Interface((second if args.address == first else first, 24))
    ipv4 = [own] if isinstance(own, IPv4Interface) else []
    ipv6 = [own] if isinstance(own, IPv6Interface) else []
    return Stack(mac, ipv4, ipv6)


def run(args: argparse.Namespace) -> int:
    """Ping until the count is reached or somebody stops it."""
    with Stop() as stop, open_link(args.linkstr) as link:
        stack = _station(args, args.mac or link.mac)
        headers = 28 if args.address.version == 4 else 48
        most = min(link.mtu, 65535) - headers
        if not 0 <= args.size <= most:
            raise FrameError(
                args.linkstr,
                f"{args.size} octets of payload do not fit, at most {most} do",
                "choose another -s",
            )
        source = None if args.own is None else args.own.ip
        if args.own is not None and args.address.version == 6:
            source = IPv6Address(args.own.packed)
        pinger = Pinger(
            stack, args.address, source=source, size=args.size, count=args.count,
            interval=args.interval, timeout=args.timeout,
        )  # fmt: skip
        if not args.json:
            print(
                f"PING {pinger.target} from {pinger.source} on {args.linkstr}: "
                f"{args.size} data bytes",
                flush=True,
            )
        begin = time.monotonic()
        try:
            _loop(link, pinger, stop, args.json)
        except LinkEndedError:
            pass  # what was answered so far counts
        _summary(pinger, time.monotonic() - begin, args)
        return 0 if pinger.round_trips.count else 1


def _loop(link: Link, pinger: Pinger, stop: Stop, quiet: bool) -> None:
    while (deadline := pinger.deadline()) is not None:
        now = time.monotonic()
        if now >= deadline:
            link.send(pinger.poll(now))
        elif not stop.wait(link.fileno(), deadline - now):
            return
        else:
            for frame in link.recv(timeout=0):
                answers = pinger.input(frame, time.monotonic())
                if answers:
                    link.send(answers)
        for event in pinger.events():
            if not quiet:
                _show(pinger, event)


def _show(pinger: Pinger, event: Reply | Lost) -> None:
    if isinstance(event, Lost):
        what = "no answer" if event.resolved else f"{pinger.target} is not there"
        print(f"icmp_seq={event.sequence} {what}", flush=True)
        return
    marks = (" (DUP!)" if event.duplicate else "") + (
        "" if event.intact else " (damaged payload)"
    )
    print(
        f"{event.size} bytes from {event.source}: icmp_seq={event.sequence} "
        f"ttl={event.ttl} time={event.rtt * 1000:.3f} ms{marks}",
        flush=True,
    )


def _summary(pinger: Pinger, elapsed: float, args: argparse.Namespace) -> None:
    figures = pinger.summary()
    times = (figures.minimum, figures.average, figures.maximum, figures.deviation)
    ms = [None if value is None else round(value * 1000, 3) for value in times]
    if args.json:
        names = ("min_ms", "avg_ms", "max_ms", "mdev_ms")
        print_json(
            {
                "link": args.linkstr,
                "target": str(pinger.target),
                "source": str(pinger.source),
                "sent": figures.transmitted,
                "received": figures.received,
                "duplicates": figures.duplicates,
                "damaged": figures.damaged,
                "loss": round(figures.loss, 6),
                **dict(zip(names, ms, strict=True)),
                "seconds": round(elapsed, 3),
            }
        )
        return
    extra = f", +{figures.duplicates} duplicates" if figures.duplicates else ""
    print(f"\n--- {pinger.target} ping statistics ---")
    print(
        f"{figures.transmitted} packets transmitted, {figures.received} received"
        f"{extra}, {figures.loss * 100:.4g}% packet loss, time {elapsed * 1000:.0f}ms"
    )
    if figures.received:
        text = "/".join(f"{value:.3f}" for value in ms if value is not None)
        print(f"rtt min/avg/max/mdev = {text} ms")
