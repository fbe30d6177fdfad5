"""What ``rumphyper gen`` does for each function, and the figures it shows."""

from __future__ import annotations

import abc
import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from rumphyper.errors import FrameError, LinkstrError
from rumphyper.gen.flows import flows
from rumphyper.gen.numbered import Ends, Kind, Numbered
from rumphyper.gen.pace import Pace
from rumphyper.gen.pingpong import Ping, Pong
from rumphyper.gen.rx import Receiver
from rumphyper.gen.sources import Capture, Counted, Plain, Source
from rumphyper.gen.tx import Transmitter
from rumphyper.link import Link
from rumphyper.link.waiter import Stopper

Figures = dict[str, Any]
Show = Callable[[], None]


class Meter:
    """The rate since the last time it was asked."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._count = 0

    def rate(self, count: int) -> float:
        """Units a second, as ``count`` have come until now."""
        now = time.monotonic()
        before, self._at = self._at, now
        done, self._count = count - self._count, count
        return round(done / max(now - before, 1e-9), 1)


class Job(abc.ABC):
    """One function at work."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._meter = Meter()

    @abc.abstractmethod
    def run(self, stop: Stopper, period: float | None, show: Show) -> None:
        """Do it to its end; ``show`` is called every ``period`` seconds."""

    @abc.abstractmethod
    def progress(self) -> Figures:
        """How it goes right now."""

    @abc.abstractmethod
    def summary(self) -> Figures:
        """What came of it."""

    def worked(self) -> bool:
        """Whether it did what was asked: the exit status."""
        return True

    def close(self) -> None:
        """Close what was opened besides the link. Idempotent."""


def _numbered(args: argparse.Namespace, link: Link, kind: Kind) -> Numbered:
    stream = int.from_bytes(os.urandom(4), "big")
    return Numbered(*_frames(args, link), stream, kind)


def _frames(args: argparse.Namespace, link: Link) -> tuple[Any, Any, int]:
    """Ends, flows and length of the frames to make; they fit the link."""
    most = link.max_frame
    if args.length > most:
        cause = f"frames of {args.length} octets do not fit, at most {most} do"
        raise FrameError(args.linkstr, cause, "choose another -l")
    ends = Ends(args.source_mac or link.mac, args.target_mac)
    return ends, flows(args.source, args.target), args.length


class Tx(Job):
    """Sends."""

    def __init__(self, args: argparse.Namespace, link: Link) -> None:
        super().__init__(args)
        if args.pcap and args.unnumbered:
            cause = "--pcap and --unnumbered: frames come from one of them"
            raise LinkstrError("gen", cause, "leave one out")
        self._source: Source
        if args.pcap:
            speed = 0.0 if args.rate else args.speed
            self._source = Capture(args.pcap, speed, args.loop)
        elif args.unnumbered:
            self._source = Plain(*_frames(args, link))
        else:
            self._source = Counted(_numbered(args, link, Kind.DATA))
        pace = Pace(args.rate, args.burst)
        self._tx = Transmitter(link, self._source, pace, args.count, args.duration)

    def run(self, stop: Stopper, period: float | None, show: Show) -> None:
        self._tx.run(stop, period, show)

    def progress(self) -> Figures:
        sent, count = self._tx.sent, self.args.count
        figures: Figures = {
            "frames": sent.frames,
            "now_per_s": self._meter.rate(sent.frames),
            "mean_per_s": round(sent.rate, 1),
        }
        left = None
        if count is not None:
            figures["done_percent"] = round(100 * sent.frames / count, 1)
            left = (count - sent.frames) / sent.rate if sent.rate else None
        if self.args.duration is not None:
            time_left = self.args.duration - sent.seconds
            left = time_left if left is None else min(left, time_left)
        figures["left_s"] = None if left is None else round(max(0.0, left), 1)
        return figures

    def summary(self) -> Figures:
        sent, asked = self._tx.sent, self.args.rate
        return {
            "frames": sent.frames,
            "octets": sent.octets,
            "seconds": round(sent.seconds, 6),
            "per_s": round(sent.rate, 1),
            "asked_per_s": asked,
            "rate_held": None if asked is None else sent.keeps(asked),
            "full": sent.full,
            "cut_in_file": getattr(self._source, "dropped", None),
        }

    def close(self) -> None:
        if isinstance(self._source, Capture):
            self._source.close()


class Rx(Job):
    """Receives."""

    def __init__(self, args: argparse.Namespace, link: Link) -> None:
        super().__init__(args)
        link.fileno()  # from now on what arrives is not missed
        self._link = link
        self._rx = Receiver(
            link, args.count, args.duration, keep=args.keep, details=args.details
        )

    def run(self, stop: Stopper, period: float | None, show: Show) -> None:
        self._rx.run(stop, period, show, busy=self.args.busy)

    def progress(self) -> Figures:
        received = self._rx.received
        return {
            "frames": received.frames,
            "now_per_s": self._meter.rate(received.frames),
            "mean_per_s": round(received.rate, 1),
            **self._rx.total(),
        }

    def summary(self) -> Figures:
        received = self._rx.received
        streams = self._rx.streams.items()
        return {
            "frames": received.frames,
            "octets": received.octets,
            "per_s": round(received.rate, 1),
            "other": received.other,
            **self._rx.total(),
            "dropped": self._link.counters.dropped,
            "streams": [{"stream": f"{n:08x}", **s.as_dict()} for n, s in streams],
        }

    def worked(self) -> bool:
        """Whether as many frames came as were asked for, and none is missing."""
        count = self.args.count
        enough = count is None or self._rx.received.frames >= count
        return enough and self._rx.received.frames > 0


class PingJob(Job):
    """Measures round trips."""

    def __init__(self, args: argparse.Namespace, link: Link) -> None:
        super().__init__(args)
        self._ping = Ping(
            link,
            _numbered(args, link, Kind.REQUEST),
            rate=args.rate,
            timeout=args.timeout,
            count=args.count,
            duration=args.duration,
        )

    def run(self, stop: Stopper, period: float | None, show: Show) -> None:
        self._ping.run(stop, period, show, busy=self.args.busy)

    def progress(self) -> Figures:
        ping = self._ping
        rate = self._meter.rate(ping.sent)
        return {"sent": ping.sent, "now_per_s": rate, "lost": ping.lost}

    def summary(self) -> Figures:
        ping = self._ping
        return {
            "sent": ping.sent,
            "answered": ping.sent - ping.lost,
            "lost": ping.lost,
            "duplicates": ping.answers.duplicates,
            "reordered": ping.answers.reordered,
            "us": ping.latency.as_dict(),
        }

    def worked(self) -> bool:
        return self._ping.answers.received > 0


class PongJob(Job):
    """Answers."""

    def __init__(self, args: argparse.Namespace, link: Link) -> None:
        super().__init__(args)
        link.fileno()  # from now on what arrives is not missed
        self._pong = Pong(link, args.count, args.duration)

    def run(self, stop: Stopper, period: float | None, show: Show) -> None:
        self._pong.run(stop, period, show, busy=self.args.busy)

    def progress(self) -> Figures:
        answered = self._pong.answered
        return {"answered": answered, "now_per_s": self._meter.rate(answered)}

    def summary(self) -> Figures:
        return {"answered": self._pong.answered, "unsent": self._pong.unsent}

    def worked(self) -> bool:
        return self._pong.answered >= (self.args.count or 0)


JOBS: dict[str, Callable[[argparse.Namespace, Link], Job]] = {
    "tx": Tx,
    "rx": Rx,
    "ping": PingJob,
    "pong": PongJob,
}
"""The functions by the name that pkt-gen gives them."""
