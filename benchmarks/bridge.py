"""bench bridge: frames from one link to another, against C and scapy.

As in bench tap everything runs turn by turn in one process, in a network
namespace of its own, and what is measured is the thread's CPU time. A turn puts
frames into the queue of the first link, which is not timed, and has them moved
to the second, where the host kernel drops them on receipt. The C peer reads and
writes the same descriptors, one frame at a time; scapy's bridge has two TAPs of
its own.

``tap to tap`` is a patch, which looks at frames as little as C does; the cases
``learning`` look where each goes. No bridge knows on which side the next frame
comes. The bare C loop does, and asks nobody; the one of the cases ``polled`` waits
by poll(2) for both sides before each frame, as a program has to that reads and
writes one at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rumphyper.bridge import Bridge, Settings
from rumphyper.bridge.settings import Mode
from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.host.netif import Netif
from rumphyper.host.netns import enter_new
from rumphyper.link import open_link

from .harness import Row, compile_c, interleave, skipped
from .spaces import packet_socket, print_rows, quieten, rows_of_child

FRAMES = 500
"""Frames of one turn: as many as the queue of a TAP holds by default."""

SCAPY_FRAMES = 100
STATION, TARGET = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"
LOCAL_EXPERIMENTAL = bytes.fromhex("88b5")

CASES = (
    "tap to tap 64",
    "tap to tap 1500",
    "learning 64",
    "learning 1500",
    "learning 64 polled",
    "learning 1500 polled",
    "shmif to tap 1500",
    "scapy",
)

PEER = """
#include <poll.h>
#include <time.h>
#include <unistd.h>

double move(int from, int to, long count, int polled)
{
    struct pollfd sides[2] = {{from, POLLIN, 0}, {to, POLLIN, 0}};
    static char frame[2048];
    struct timespec a, b;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
    for (long i = 0; i < count; i++) {
        if (polled && (poll(sides, 2, -1) < 1 || !(sides[0].revents & POLLIN)))
            return -1;
        ssize_t size = read(from, frame, sizeof frame);
        if (size < 0 || write(to, frame, size) != size)
            return -1;
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
    return ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / count;
}
"""

Turn = Callable[[], float]
"""Moves frames once; returns the nanoseconds that each took."""


def run(quick: bool) -> Iterator[Row]:
    """Yield the cases; the namespace needs a process of its own."""
    yield from rows_of_child("bridge", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    print_rows(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    try:
        enter_new()
    except RumphyperError as error:
        for case in CASES:
            yield skipped("bridge", case, str(error))
        return
    runs = 301 if quick else 1201
    for case in CASES:
        try:
            yield _case(case, runs)
        except RumphyperError as error:
            yield skipped("bridge", case, str(error))


def _case(case: str, runs: int) -> Row:
    with contextlib.ExitStack() as held:
        mode: Mode = "learn" if "learning" in case else "patch"
        size = 1500 if "1500" in case else 64
        taps = held.enter_context(_tap_to_tap(size, mode))
        if case == "scapy":
            ours, peer = taps[0], "scapy's bridge_and_sniff"
            theirs, runs = held.enter_context(_scapy(64)), max(5, runs // 20)
        elif case.startswith("shmif"):
            ours, peer = held.enter_context(_shmif_to_tap(1500)), "tap to tap"
            theirs = taps[0]
        else:
            polled = case.endswith("polled")
            ours, peer = taps[0], f"C {'poll/' * polled}read/write loop"
            theirs = held.enter_context(_in_c(taps[1], polled))
        return interleave(
            "bridge", case, "ns/frame", ours, peer, theirs, runs, more_is_better=False
        )


def frame(size: int) -> bytes:
    """A frame that the bridge knows the way of, and no host takes."""
    return (TARGET + STATION + LOCAL_EXPERIMENTAL).ljust(size, b"\0")


@contextlib.contextmanager
def _bridge(mode: Mode, *linkstrs: str) -> Iterator[Bridge]:
    """A bridge that knows, if it learns, that the target is behind its second link."""
    with Bridge(linkstrs, Settings(mode, loop_check=0)) as bridge:
        for linkstr in linkstrs:
            scheme, _, name = linkstr.partition(":")
            if scheme == "tap":
                quieten(name)
        while bridge.turn(range(len(linkstrs)), 0.0):
            pass  # away with what the kernel sent before it was told to be quiet
        bridge.learn(TARGET, 1)
        yield bridge


def _timed(bridge: Bridge) -> float:
    """Nanoseconds of each frame that the bridge moves, `FRAMES` of them."""
    left = FRAMES
    start = time.thread_time_ns()
    while left > 0:
        moved = bridge.turn((0,), 0.0)
        assert moved
        left -= moved
    return (time.thread_time_ns() - start) / FRAMES


Taps = tuple[Turn, tuple[Callable[[], None], int, int]]
"""A turn of the bridge; for others how to fill the first TAP, and both descriptors."""


@contextlib.contextmanager
def _tap_to_tap(size: int, mode: Mode) -> Iterator[Taps]:
    octets = frame(size)
    names = "tap:bench0", "tap:bench1"
    with _bridge(mode, *names) as bridge, packet_socket() as source:
        source.bind(("bench0", 0))
        first, second = (port.link for port in bridge.ports)
        assert first is not None
        assert second is not None
        fds = first.frame_fd(), second.frame_fd()
        assert fds[0] is not None
        assert fds[1] is not None

        def fill() -> None:
            for _ in range(FRAMES):
                source.send(octets)

        def turn() -> float:
            fill()
            sent = second.counters.sent
            value = _timed(bridge)
            assert second.counters.sent == sent + FRAMES
            return value

        yield turn, (fill, fds[0], fds[1])


@contextlib.contextmanager
def _shmif_to_tap(size: int) -> Iterator[Turn]:
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-", dir=place) as folder:
        bus = f"shmif:{folder}/bus"
        with _bridge("patch", bus, "tap:bench2") as bridge, open_link(bus) as source:
            batch = [frame(size)] * FRAMES

            def turn() -> float:
                source.send(batch)
                return _timed(bridge)

            yield turn


@contextlib.contextmanager
def _in_c(taps: tuple[Callable[[], None], int, int], polled: bool) -> Iterator[Turn]:
    fill, source, target = taps
    peer = compile_c(PEER, shared=True)
    try:
        move = ctypes.CDLL(str(peer)).move
        move.restype = ctypes.c_double
        move.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_int]

        def turn() -> float:
            fill()
            value = float(move(source, target, FRAMES, polled))
            assert value > 0
            return value

        yield turn
    finally:
        shutil.rmtree(peer.parent)


@contextlib.contextmanager
def _scapy(size: int) -> Iterator[Turn]:
    try:
        import scapy.all as module
    except ImportError as error:
        raise UnsupportedError("scapy", str(error), "pip install scapy") from None
    scapy: Any = module
    logging.getLogger("scapy").setLevel(logging.ERROR)
    with contextlib.ExitStack() as held:
        ends = []
        for name in ("scapy0", "scapy1"):
            end = scapy.TunTapInterface(iface=name, mode_tun=False)
            held.callback(end.close)
            ends.append(end)
            quieten(name)
            with Netif() as netif:
                netif.set_up(name)
        source: socket.socket = held.enter_context(packet_socket())
        source.bind(("scapy0", 0))
        octets = frame(size)

        def turn() -> float:
            for _ in range(SCAPY_FRAMES):
                source.send(octets)
            start = time.thread_time_ns()
            scapy.bridge_and_sniff(*ends, count=SCAPY_FRAMES, store=False, timeout=10)
            return (time.thread_time_ns() - start) / SCAPY_FRAMES

        yield turn
