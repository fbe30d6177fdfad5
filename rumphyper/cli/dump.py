"""``rumphyper dump``: the frames of a link on the screen or in a capture file."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from rumphyper.cli.common import Stop, positive, print_json
from rumphyper.cli.show import JsonLines, ScreenLines, Sink
from rumphyper.errors import (
    LinkClosedError,
    LinkEndedError,
    LinkstrError,
    RumphyperError,
)
from rumphyper.link import Link, open_link
from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader
from rumphyper.link.pcapwrite import PcapWriter
from rumphyper.link.present import is_bus

BATCH = 512

Take = Callable[[int], list[Record]]
"""Gives at most so many frames that are there, without waiting."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("linkstr", metavar="LINKSTR", help="or the path of a file")
    add = parser.add_argument
    add("-w", dest="write", metavar="FILE",
        help="write a capture file instead of lines; - is standard output")  # fmt: skip
    add("--format", choices=("pcap", "pcapng"),
        help="of the file written (default: by its ending, else pcap)")  # fmt: skip
    add("-c", dest="count", type=positive, metavar="COUNT", help="stop after so many")
    add("-x", dest="hex", action="count", default=0,
        help="hexadecimal, too: behind the Ethernet header, -xx all")  # fmt: skip
    add("--follow", action=argparse.BooleanOptionalAction, default=None,
        help="wait for more at the end; default on a bus, not in a file")  # fmt: skip
    add("--json", action="store_true", help="an object a frame, then the summary")


def run(args: argparse.Namespace) -> int:
    """Show or write frames to the link's end, the count or a signal."""
    if args.write == "-" and (args.json or os.isatty(1)):
        what = "--json goes there, too" if args.json else "it is a terminal"
        raise LinkstrError("-w -", f"standard output: {what}", "write to a file")
    linkstr = _linkstr(args.linkstr)
    opening = options(linkstr, args.follow)
    with contextlib.ExitStack() as cleanup:
        link = cleanup.enter_context(open_link(linkstr, **opening))
        writer = None
        if args.write is not None:
            ending = "pcapng" if args.write.endswith(".pcapng") else "pcap"
            try:
                writer = PcapWriter(args.write, format=args.format or ending)
            except LinkEndedError:  # nobody reads the pipe
                return 0
            cleanup.enter_context(writer)
        reader = writer.pipe if writer is not None else None
        stop = cleanup.enter_context(Stop(unblock(writer, cleanup), reader))
        take, wall = take_records(link, args.follow)
        sink: Sink
        if writer is not None:
            sink = writer.send_records
        elif args.json:
            sink = JsonLines(args.hex)
        else:
            sink = ScreenLines(args.hex, wall)
        shown = Shown()
        try:
            shown.run(link, take, sink, stop, args.count)
        except OSError:
            raise  # standard output is gone or full: no summary
        except RumphyperError:
            if args.json:
                shown.summary(link.counters.dropped, True)
            raise  # standard error has one line then: the error
        except BaseException:
            shown.summary(link.counters.dropped, args.json)
            raise
        shown.summary(link.counters.dropped, args.json)
    return 0


def _linkstr(text: str) -> str:
    """Return ``text``, with its scheme in front when it is a file's path.

    A FIFO is only opened once: what is no regular file is no bus.
    """
    scheme = text.partition(":")[0]
    if "/" not in scheme and (scheme != text or not os.path.exists(text)):
        return text
    if not os.path.isfile(text):
        return f"pcap:{text}"
    return f"{'shmif' if is_bus(text) else 'pcap'}:{text}"


def options(linkstr: str, follow: bool | None = None) -> dict[str, object]:
    """Return what to open the link with: only watch, and see everything."""
    options: dict[str, object] = {}
    if follow is not None:
        options["follow"] = follow
    if linkstr.startswith("shmif:"):
        options.update(readonly=True, from_start=True)
    elif linkstr.startswith("packet:"):
        options.update(outgoing=True)
    elif linkstr.startswith("pcap:"):
        options.update(cut=True)
    return options


def take_records(link: Link, follow: bool | None = None) -> tuple[Take, bool]:
    """Return where records come from, and whether their time is of the wall."""
    if isinstance(link, PcapReader):
        return lambda limit: link.recv_records(limit, timeout=0), True
    if follow is False and link.linkstr.startswith("shmif:"):
        # what lies on a bus has only the uptime of who sent it
        from rumphyper.link.shmif import ShmifLink

        assert isinstance(link, ShmifLink)
        return lambda limit: [
            Record(
                packet.seconds * 1_000_000_000 + packet.microseconds * 1000,
                packet.frame,
                len(packet.frame),
            )
            for packet in link.recv_packets(limit, timeout=0)
        ], False

    def arrived(limit: int) -> list[Record]:
        frames = link.recv(limit, timeout=0)
        now = time.time_ns()
        return [Record(now, frame, len(frame)) for frame in frames]

    return arrived, True


def unblock(
    writer: PcapWriter | None, cleanup: contextlib.ExitStack
) -> Callable[[], object]:
    """Return what a signal does: a writer whose reader is stuck is closed soon."""
    if writer is None:
        return lambda: None
    timer = threading.Timer(1.0, writer.close)
    timer.daemon = True
    cleanup.callback(timer.cancel)
    return timer.start


class Shown:
    """Counts the frames that went from a link to where they are shown."""

    def __init__(self) -> None:
        self.frames = 0
        self.octets = 0

    def run(
        self, link: Link, take: Take, sink: Sink, stop: Stop, count: int | None
    ) -> None:
        """Move frames until the link's or the reader's end, or the count."""
        while stop.wait(link.fileno()):
            limit = BATCH if count is None else min(BATCH, count - self.frames)
            try:
                records = take(limit)
                if records:
                    sink(records)
            except (LinkEndedError, LinkClosedError):
                return
            self.frames += len(records)
            self.octets += sum(record.length for record in records)
            if self.frames == count:
                return

    def summary(self, dropped: int, as_json: bool) -> None:
        """Say what there was: on standard error, or as the last object."""
        if as_json:
            print_json(
                {"frames": self.frames, "octets": self.octets, "dropped": dropped}
            )
            return
        print(
            f"{self.frames} frames, {self.octets} octets, {dropped} dropped",
            file=sys.stderr,
        )
