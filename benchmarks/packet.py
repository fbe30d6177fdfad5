"""bench packet: a packet link against sendmmsg(2) and recvmmsg(2) loops in C.

Both use a packet socket on the same end of a veth pair, in one process, turn by turn.
The C side's is a plain one: it gets no VLAN tags back, no checksums and no segments,
and its frames carry no virtio-net header. A receive turn is fed by a third socket at
the far end, which is not timed. Neither side ever waits, so what is measured is the
thread's CPU time.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

from rumphyper.errors import RumphyperError
from rumphyper.host.ifreq import IFF_RUNNING
from rumphyper.host.netif import Netif
from rumphyper.host.netns import enter_new
from rumphyper.link.packet import Io, PacketLink, open_packet
from rumphyper.link.packet_abi import PACKET_IGNORE_OUTGOING, SOL_PACKET

from .harness import Row, compile_c, interleave, skipped
from .spaces import print_rows, quieten, rows_of_child

CASES: tuple[tuple[Io, str, int], ...] = (
    ("mmsg", "send", 64),
    ("mmsg", "send", 1500),
    ("mmsg", "receive", 64),
    ("mmsg", "receive", 1500),
    ("ring", "receive", 64),
)
"""How frames are received, which way they go, and their size."""

FRAMES = 500
"""Frames of one turn."""

BATCH = 100
"""Frames of one call."""

NEAR, FAR = "bench0", "bench1"
ALL = 0x0003
"""ETH_P_ALL."""

ROOM = 4 << 20
"""Octets that wait at a socket at most."""

HEAD = bytes.fromhex("020000000001 020000000002 88b5")

PEER = """
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 100, SLOT = 2048 };
static char slots[BATCH][SLOT];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void lay_out(long size)
{
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = slots[i];
        parts[i].iov_len = size;
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
}

double send_loop(int fd, const char *frame, long size, long count)
{
    lay_out(size);
    double start = now();
    for (long left = count; left;) {
        int n = left < BATCH ? left : BATCH;
        for (int i = 0; i < n; i++)
            memcpy(slots[i], frame, size);
        n = sendmmsg(fd, messages, n, MSG_DONTWAIT);
        if (n <= 0)
            return -1;
        left -= n;
    }
    return (now() - start) / count;
}

double drain(int fd, long size, long count)
{
    lay_out(SLOT);
    double start = now();
    for (long left = count; left;) {
        int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, 0);
        if (n <= 0)
            return -1;
        for (int i = 0; i < n; i++)
            if (messages[i].msg_len != size)
                return -2;
        left -= n;
    }
    return (now() - start) / count;
}
"""


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each of `CASES`.

    The namespace needs a process of its own, which prints the rows.
    """
    yield from rows_of_child("packet", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    print_rows(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    try:
        enter_new()
        peer = compile_c(PEER, shared=True)
    except RumphyperError as error:
        for case in CASES:
            yield skipped("packet", " ".join(map(str, case)), str(error))
        return
    try:
        library = ctypes.CDLL(str(peer))
        for case in CASES:
            runs = 401 if quick else 1601
            # A turn of the ring's waits for blocks to be handed over.
            yield measure(library, *case, runs=runs // 4 if "ring" in case else runs)
    finally:
        shutil.rmtree(peer.parent)


def measure(library: ctypes.CDLL, io: Io, way: str, size: int, runs: int) -> Row:
    """The row of one case, in a namespace that the caller has entered."""
    case = f"{io} {way} {size}"
    frame = HEAD.ljust(size, b"\0")
    with contextlib.ExitStack() as opened:
        try:
            _make_pair(opened)
            link = opened.enter_context(open_packet(NEAR, io=io, buffer=ROOM))
            plain = opened.enter_context(_socket(NEAR, ALL))
            source = opened.enter_context(_socket(FAR, 0))
        except (RumphyperError, OSError, subprocess.SubprocessError) as error:
            return skipped("packet", case, str(error))
        if way == "send":
            call, turns = "sendmmsg", _senders(library, link, plain, frame)
        else:
            call, turns = "recvmmsg", _receivers(library, link, plain, source, frame)
        return interleave(
            "packet", case, "ns/frame", turns[0], f"C {call} loop", turns[1], runs,
            more_is_better=False,
        )  # fmt: skip


def _make_pair(opened: contextlib.ExitStack) -> None:
    """A veth pair on which nothing but the benchmark sends."""
    ip = ["ip", "link", "add", NEAR, "type", "veth", "peer", "name", FAR]
    subprocess.run(ip, check=True)
    opened.callback(subprocess.run, ["ip", "link", "delete", NEAR], check=True)
    for end in (NEAR, FAR):
        quieten(end)
        subprocess.run(["ip", "link", "set", end, "up"], check=True)
    with Netif() as netif:  # until the kernel has noticed that both are up
        for _ in range(1000):
            if all(netif.flags(end) & IFF_RUNNING for end in (NEAR, FAR)):
                break
            time.sleep(0.005)
    time.sleep(0.01)  # the flag is set a little before the queue is


def _socket(interface: str, protocol: int) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if protocol:
        end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
    end.bind((interface, protocol))
    return end


Turns = tuple[Callable[[], float], Callable[[], float]]


def _senders(
    library: ctypes.CDLL, link: PacketLink, plain: socket.socket, frame: bytes
) -> Turns:
    loop = library.send_loop
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_long, ctypes.c_long]
    batch = [frame] * BATCH

    def ours() -> float:
        start = time.thread_time_ns()
        for _ in range(FRAMES // BATCH):
            assert link.send(batch) == BATCH
        return (time.thread_time_ns() - start) / FRAMES

    def theirs() -> float:
        value = float(loop(plain.fileno(), frame, len(frame), FRAMES))
        assert value > 0
        return value

    return ours, theirs


def _receivers(
    library: ctypes.CDLL,
    link: PacketLink,
    plain: socket.socket,
    source: socket.socket,
    frame: bytes,
) -> Turns:
    loop = library.drain
    loop.restype = ctypes.c_double
    loop.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long]

    def fill() -> None:
        for _ in range(FRAMES):
            source.send(frame)
        if link.io == "ring":
            time.sleep(0.02)  # until the block is handed over

    # A second block is handed over later, and waiting takes no CPU time.
    timeout = 1.0 if link.io == "ring" else 0.0

    def take() -> float:
        left = FRAMES
        start = time.thread_time_ns()
        while left:
            frames = link.recv_views(BATCH, timeout)
            assert frames
            left -= len(frames)
        took = time.thread_time_ns() - start
        assert frames[-1] == frame
        return took / FRAMES

    def drain() -> float:
        value = float(loop(plain.fileno(), len(frame), FRAMES))
        assert value > 0
        return value

    def ours() -> float:
        fill()  # both sockets get it: each turn empties the other's, too
        took = take()
        drain()
        return took

    def theirs() -> float:
        fill()
        took = drain()
        take()
        return took

    return ours, theirs
