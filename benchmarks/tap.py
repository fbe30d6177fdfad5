"""bench tap: a TAP link against a read(2)/write(2) loop in C.

Both use the same descriptor in the same process, turn by turn, in a network
namespace of their own. A send turn writes frames that the host kernel drops on
receipt. A receive turn fills the device's queue by a packet socket, which is
not timed, and then drains it. Neither side ever waits, so what is measured is
the thread's CPU time: other processes then disturb less.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import time
from collections.abc import Callable, Iterator

from rumphyper.errors import RumphyperError
from rumphyper.host.netif import Netif
from rumphyper.host.netns import enter_new
from rumphyper.link import open_link
from rumphyper.link.tap_link import TapLink

from .harness import Row, compile_c, interleave, skipped
from .spaces import packet_socket, print_rows, quieten, rows_of_child

SIZES = (64, 1500)
FRAMES = 500
"""Frames of one turn: as many as the queue of a TAP holds by default."""

BATCH = 250
"""Frames of one send, and at most of one receive."""

NAME = "bench0"
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
LOCAL_EXPERIMENTAL = bytes.fromhex("88b5")

PEER = """
#include <stdint.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

double send_loop(int fd, const char *frame, long size, long count)
{
    double start = now();
    for (long i = 0; i < count; i++)
        if (write(fd, frame, size) != size)
            return -1;
    return (now() - start) / count;
}

double drain(int fd, long size, long count)
{
    static char frame[2048];
    double start = now();
    for (long i = 0; i < count; i++)
        if (read(fd, frame, sizeof frame) != size)
            return -1;
    return (now() - start) / count;
}
"""


def cases() -> Iterator[tuple[str, str, int]]:
    """How frames are moved, which way, and their size."""
    for io in ("uring", "walk", "plain"):
        for direction in ("send", "receive"):
            for size in SIZES:
                yield io, direction, size


def run(quick: bool) -> Iterator[Row]:
    """Yield a case for each way of moving frames, direction and size.

    The namespace needs a process of its own, which prints the rows.
    """
    yield from rows_of_child("tap", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    print_rows(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    try:
        enter_new()
        peer = compile_c(PEER, shared=True)
    except RumphyperError as error:
        for case in cases():
            yield skipped("tap", " ".join(map(str, case)), str(error))
        return
    try:
        library = ctypes.CDLL(str(peer))
        for case in cases():
            yield _case(library, *case, runs=401 if quick else 1601)
    finally:
        shutil.rmtree(peer.parent)


def _case(library: ctypes.CDLL, io: str, direction: str, size: int, runs: int) -> Row:
    case = f"{io} {direction} {size}"
    try:
        link = open_link(f"tap:{NAME}", io=io, up=False)
    except RumphyperError as error:
        return skipped("tap", case, str(error))
    assert isinstance(link, TapLink)
    # Nothing of the kernel's own shall be among the frames.
    with link, Netif() as netif, packet_socket() as source:
        quieten(NAME)
        assert netif.tx_queue_length(NAME) >= FRAMES
        netif.set_up(NAME)
        frame = b"\2\0\0\0\0\1\2\0\0\0\0\2" + LOCAL_EXPERIMENTAL
        frame = frame.ljust(size, b"\0")
        if direction == "send":
            call, turns = "write", _senders(library, link, frame)
        else:
            source.bind((NAME, 0))
            call, turns = "read", _receivers(library, link, frame, source)
        return interleave(
            "tap",
            case,
            "ns/frame",
            turns[0],
            f"C {call} loop",
            turns[1],
            runs,
            more_is_better=False,
        )


Turns = tuple[Callable[[], float], Callable[[], float]]


def _senders(library: ctypes.CDLL, link: TapLink, frame: bytes) -> Turns:
    loop = library.send_loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long]
    fd = link.frame_fd()
    assert fd is not None
    batch = [frame] * BATCH

    def ours() -> float:
        start = time.thread_time_ns()
        for _ in range(FRAMES // BATCH):
            assert link.send(batch) == BATCH
        return (time.thread_time_ns() - start) / FRAMES

    def theirs() -> float:
        value = float(loop(fd, frame, len(frame), FRAMES))
        assert value > 0
        return value

    return ours, theirs


def _receivers(
    library: ctypes.CDLL, link: TapLink, frame: bytes, source: socket.socket
) -> Turns:
    drain = library.drain
    drain.restype = ctypes.c_double
    drain.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long]
    fd = link.frame_fd()
    assert fd is not None

    def fill() -> None:
        for _ in range(FRAMES):
            source.send(frame)

    def ours() -> float:
        fill()
        left = FRAMES
        start = time.thread_time_ns()
        while left:
            frames = link.recv_views(BATCH, timeout=0)
            assert frames
            left -= len(frames)
        took = time.thread_time_ns() - start
        assert frames[-1] == frame
        return took / FRAMES

    def theirs() -> float:
        fill()
        value = float(drain(fd, len(frame), FRAMES))
        assert value > 0
        return value

    return ours, theirs
