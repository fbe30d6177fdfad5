"""``rumphyper extcap``: links as interfaces of Wireshark.

Wireshark calls this verb by a script in its extcap folder, which ``--install``
puts there; see docs/wireshark.md.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
import time
from pathlib import Path

from rumphyper.cli.common import Stop
from rumphyper.cli.dump import Shown, options, take_records, unblock
from rumphyper.errors import LinkEndedError, RumphyperError, UnsupportedError
from rumphyper.link import Link, open_link
from rumphyper.link.pcapwrite import PcapWriter
from rumphyper.wireshark import sentences

PATIENCE = 5.0
"""Seconds that Wireshark may take to open the FIFO."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments: Wireshark's, and two for people."""
    job = parser.add_mutually_exclusive_group()
    job.add_argument("--install", nargs="?", const="", metavar="FOLDER",
        help="let Wireshark find this program (default: in your own "
        "extcap folder)")  # fmt: skip
    job.add_argument("--uninstall", nargs="?", const="", metavar="FOLDER",
        help="take it away again")  # fmt: skip
    job.add_argument("--extcap-interfaces", action="store_true",
        help="list the interfaces")  # fmt: skip
    job.add_argument("--extcap-dlts", action="store_true",
        help="list an interface's link types")  # fmt: skip
    job.add_argument("--extcap-config", action="store_true",
        help="list an interface's options")  # fmt: skip
    job.add_argument("--capture", action="store_true",
        help="write an interface's frames to the FIFO")  # fmt: skip
    add = parser.add_argument
    add("--extcap-version", metavar="VERSION", help="Wireshark's own")
    add("--extcap-interface", metavar="NAME",
        help=f"one of the list: a linkstr, or {sentences.ANY}")  # fmt: skip
    add("--extcap-capture-filter", metavar="FILTER", help="must be empty")
    add("--fifo", metavar="FILE", help="where pcapng goes")
    add("--linkstr", metavar="LINKSTR",
        help=f"the link that {sentences.ANY} means")  # fmt: skip
    add("--from-start", action="store_true",
        help="also what lies on a bus already")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Do the one thing that was asked for."""
    if args.install is not None or args.uninstall is not None:
        return _install(args)
    if args.extcap_interfaces:
        from rumphyper.link.present import present

        links, errors = present()
        for error in errors:
            print(f"rumphyper extcap: {error}", file=sys.stderr)
        print("\n".join(sentences.interfaces(links)))
        return 0
    if args.capture:
        return _capture(args)
    if not (args.extcap_dlts or args.extcap_config):
        if args.extcap_capture_filter is None:
            cause = "nothing is asked for"
            raise UnsupportedError("rumphyper extcap", cause, "try --install")
        if args.extcap_capture_filter:  # is it a good one? Silence is a yes
            print("links have no capture filters: use a display filter")
        return 0
    interface = args.extcap_interface
    if interface != sentences.ANY:
        sentences.linkstr_of(interface, None)  # it can be one
    lines = sentences.dlts() if args.extcap_dlts else sentences.config(interface)
    for line in lines:
        print(line)
    return 0


def _install(args: argparse.Namespace) -> int:
    from rumphyper.wireshark import folder

    named = args.install if args.uninstall is None else args.uninstall
    where = Path(named).absolute() if named else folder.personal_folder()
    if args.uninstall is None:
        print(f"{folder.install(where)}: its interfaces are in Wireshark's list now")
    else:
        print(f"{folder.uninstall(where)}: removed")
    return 0


def _capture(args: argparse.Namespace) -> int:
    """Write frames until Wireshark stops it, or the link's end.

    Whatever is on standard error Wireshark shows as an error: no summary.
    """
    if args.fifo is None:
        raise UnsupportedError("--capture", "no --fifo is named", "name one")
    with contextlib.ExitStack() as cleanup:
        try:
            link = cleanup.enter_context(_open(args))
        except RumphyperError:
            _end_later(args.fifo)
            raise
        try:
            writer = PcapWriter(args.fifo, format="pcapng")
        except LinkEndedError:  # the capture was stopped already
            return 0
        cleanup.enter_context(writer)
        then = unblock(writer, cleanup)
        stop = cleanup.enter_context(Stop(then, reader=writer.pipe))
        take, _wall = take_records(link)
        Shown().run(link, take, writer.send_records, stop, None)
    return 0


def _open(args: argparse.Namespace) -> Link:
    """Open the link that is meant, to be watched."""
    linkstr = sentences.linkstr_of(args.extcap_interface, args.linkstr)
    if args.extcap_capture_filter:
        raise UnsupportedError(
            f"capture filter {args.extcap_capture_filter!r}",
            "links have no capture filters",
            "leave it empty, and use a display filter",
        )
    opening = options(linkstr)
    if "from_start" in opening:
        opening["from_start"] = args.from_start
    return open_link(linkstr, **opening)


def _end_later(fifo: str) -> None:
    """Let who reads the FIFO see its end: tshark would wait there for ever.

    It opens the FIFO some time after it has started this program. The end of the
    process closes it, for when the FIFO ends tshark shows what has been said.
    """
    for _ in range(int(PATIENCE / 0.05)):
        try:
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads it yet
                return
        time.sleep(0.05)
