"""bench gen: frames that are made and sent, against scapy's sendp.

``rumphyper gen tx`` makes numbered frames and sends them on a bus or a TAP;
scapy sends the very same frames, as its packets, by sendp on the TAP's
interface (it has no shmif). Both in one process, turn by turn; measured is the
thread's CPU time of a frame.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.gen.flows import Flow
from rumphyper.gen.numbered import Ends, Numbered
from rumphyper.gen.pace import Pace
from rumphyper.gen.sources import Counted
from rumphyper.gen.tx import Transmitter
from rumphyper.host.netns import enter_new
from rumphyper.link import Link, open_link

from .harness import Row, interleave, skipped
from .spaces import quieten, rows_of_child

FRAMES = 2000
SCAPY_FRAMES = 50
SIZE = 60
CASES = ("shmif scapy", "tap scapy")
NAME = "bench0"
ENDS = Ends(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")
FLOW = Flow(IPv4Address("10.0.0.1"), 1234, IPv4Address("10.1.0.1"), 1234)


class Never:
    """Nobody wants the loop to stop."""

    wanted = False

    def wait(self, fd: int, timeout: float | None = None) -> bool:
        raise AssertionError("sending waits for nothing")


def run(quick: bool) -> Iterator[Row]:
    """Yield both cases; the namespace needs a process of its own."""
    yield from rows_of_child("gen", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    for row in _rows(51 if quick else 301):
        print(json.dumps(row.as_dict()), flush=True)


def _rows(runs: int) -> Iterator[Row]:
    try:
        enter_new()
    except RumphyperError as error:
        for case in CASES:
            yield skipped("gen", case, str(error))
        return
    for case in CASES:
        try:
            yield _case(case, runs)
        except RumphyperError as error:
            yield skipped("gen", case, str(error))


def _case(case: str, runs: int) -> Row:
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with contextlib.ExitStack() as held:
        prefix = "rumphyper-bench-"
        folder = held.enter_context(
            tempfile.TemporaryDirectory(prefix=prefix, dir=place)
        )
        tap = held.enter_context(open_link(f"tap:{NAME}"))
        quieten(NAME)
        link = tap
        if case.startswith("shmif"):
            link = held.enter_context(open_link(f"shmif:{folder}/bus"))
        return interleave(
            "gen",
            case,
            "ns/frame",
            lambda: _ours(link),
            "scapy's sendp",
            held.enter_context(_scapy()),
            runs,
            more_is_better=False,
        )


def _numbered() -> Numbered:
    return Numbered(ENDS, [FLOW], SIZE, 7)


def _ours(link: Link) -> float:
    job = Transmitter(link, Once(_numbered()), Pace(None, None), FRAMES)
    start = time.thread_time_ns()
    job.run(Never())
    took = time.thread_time_ns() - start
    assert job.sent.frames == FRAMES
    return took / FRAMES


class Once(Counted):
    """Frames without a word about their end, which scapy does not say either."""

    def end(self) -> None:
        return None


@contextlib.contextmanager
def _scapy() -> Iterator[Callable[[], float]]:
    try:
        import scapy.all as module
    except ImportError as error:
        raise UnsupportedError("scapy", str(error), "pip install scapy") from None
    scapy: Any = module
    scapy.conf.ifaces.reload()  # it remembers interfaces of this name by their index
    packets = [scapy.Ether(octets) for octets in _numbered().take(SCAPY_FRAMES)]
    end = scapy.conf.L2socket(iface=NAME)

    def turn() -> float:
        start = time.thread_time_ns()
        scapy.sendp(packets, socket=end, verbose=False)
        return (time.thread_time_ns() - start) / SCAPY_FRAMES

    with contextlib.closing(end):
        yield turn
