"""bench xdp: an AF_XDP link against a loop in C on sockets of the same kind.

Each side has a veth pair of its own in one network namespace, and a socket that is
set up in the same way; the C side then has the four rings and the descriptor for
itself. Turn by turn, in one thread, whose CPU time is measured: neither side waits,
and the kernel's own work on veth is done in that thread, too.

*transmit* copies frames into the ring, hands them over and takes the completions;
*transmit one* has the slots filled with one frame beforehand, as generators do.
*receive count* begins with what the far end sends, by one C loop for both sides, and
ends when all of it was counted and its slots handed back; *drain count* is the latter
half alone, without the kernel's.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from rumphyper.errors import RumphyperError
from rumphyper.host.netns import enter_new
from rumphyper.link.xdp import open_xdp
from rumphyper.link.xdp_link import XdpLink
from rumphyper.ring.xdp import Ring

from .harness import Row, compile_c, interleave, skipped
from .spaces import print_rows, quieten, rows_of_child

CASES = ("transmit 64", "transmit 1500", "transmit one 64", "receive count 64",
         "drain count 64")  # fmt: skip
FRAMES = 1000
"""Frames of one turn: as many as a ring holds."""

BATCH = 250
"""Frames of one send, and at most of one receive."""

HEAD = bytes.fromhex("020000000001 020000000002 88b5")

PEER = """
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct ring { uint32_t *producer, *consumer, *flags; void *entries; uint32_t size; };
struct desc { uint64_t addr; uint32_t len, options; };

#define LOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

double transmit(int fd, char *umem, struct ring *tx, struct ring *done, uint64_t base,
                uint32_t chunk, const char *frame, uint32_t size, uint32_t batch,
                uint32_t count)
{
    double start = now();
    uint32_t head = *tx->producer, tail = *done->consumer, left = count;
    while (left) {
        uint32_t n = LOAD(done->producer) - tail, i;
        tail += n;
        STORE(done->consumer, tail);
        n = tx->size - (head - tail);
        if (n > batch)
            n = batch;
        if (n > left)
            n = left;
        for (i = 0; i < n; i++, head++) {
            uint32_t slot = head & (tx->size - 1);
            struct desc *d = (struct desc *)tx->entries + slot;
            d->addr = base + (uint64_t)slot * chunk;
            d->len = size;
            d->options = 0;
            if (frame)
                memcpy(umem + d->addr, frame, size);
        }
        STORE(tx->producer, head);
        while ((LOAD(tx->flags) & 1) && LOAD(tx->consumer) != head)
            sendto(fd, 0, 0, MSG_DONTWAIT, 0, 0);
        left -= n;
    }
    while (tail != head)
        tail += LOAD(done->producer) - tail;
    STORE(done->consumer, tail);
    return (now() - start) / count;
}

double drain(struct ring *rx, struct ring *fill, uint32_t chunk, uint32_t batch,
             uint32_t count, uint64_t *octets)
{
    double start = now();
    uint32_t tail = *rx->consumer, head = *fill->producer, left = count;
    while (left) {
        uint32_t n = LOAD(rx->producer) - tail, i;
        if (n > batch)
            n = batch;
        if (!n)
            return -1;
        for (i = 0; i < n; i++, tail++, head++) {
            struct desc *d = (struct desc *)rx->entries + (tail & (rx->size - 1));
            *octets += d->len;
            ((uint64_t *)fill->entries)[head & (fill->size - 1)] =
                d->addr & ~((uint64_t)chunk - 1);
        }
        STORE(rx->consumer, tail);
        STORE(fill->producer, head);
        left -= n;
    }
    return (now() - start) / count;
}
"""


class CRing(ctypes.Structure):
    """The peer's struct ring."""

    _fields_: ClassVar[list[tuple[str, Any]]] = [
        ("producer", ctypes.c_void_p),
        ("consumer", ctypes.c_void_p),
        ("flags", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("size", ctypes.c_uint32),
    ]


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each of `CASES`.

    The namespace needs a process of its own, which prints the rows.
    """
    yield from rows_of_child("xdp", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    print_rows(_rows(quick))


def _rows(quick: bool) -> Iterator[Row]:
    try:
        enter_new(user=False)
        peer = compile_c(PEER, shared=True)
    except RumphyperError as error:
        for case in CASES:
            yield skipped("xdp", case, str(error))
        return
    try:
        library = ctypes.CDLL(str(peer))
        declare(library)
        for case in CASES:
            yield measure(library, case, runs=401 if quick else 1601)
    finally:
        shutil.rmtree(peer.parent)


def declare(library: ctypes.CDLL) -> None:
    """Tell ctypes what the peer's functions return."""
    for name in ("transmit", "drain"):
        getattr(library, name).restype = ctypes.c_double


def measure(library: ctypes.CDLL, case: str, runs: int) -> Row:
    """The row of one case, in a namespace that the caller has entered."""
    what, _, size = case.rpartition(" ")
    frame = HEAD.ljust(int(size), b"\0")
    with contextlib.ExitStack() as opened:
        try:
            sides = [opened.enter_context(_Side(name)) for name in ("ours", "theirs")]
        except (RumphyperError, OSError) as error:
            return skipped("xdp", case, str(error))
        ours, theirs = sides
        if "transmit" in what:
            turns = _transmitters(library, ours, theirs, frame, "one" in what)
        else:
            turns = _receivers(library, ours, theirs, frame, "drain" in what)
        return interleave(
            "xdp", case, "ns/frame", turns[0], "C loop", turns[1], runs,
            more_is_better=False,
        )  # fmt: skip


class _Side(contextlib.ExitStack):
    """A veth pair with a link at its near end, and one that sends at its far end."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __enter__(self) -> _Side:
        near, far = f"{self.name}0", f"{self.name}1"
        ip = ["ip", "link", "add", near, "type", "veth", "peer", "name", far]
        subprocess.run(ip, check=True)
        self.callback(subprocess.run, ["ip", "link", "delete", near], check=True)
        try:
            for end in (near, far):
                quieten(end)  # nothing of the kernel's shall come between
                subprocess.run(["ip", "link", "set", end, "up"], check=True)
            self.link: XdpLink = self.enter_context(open_xdp(near))
            self.far: XdpLink = self.enter_context(open_xdp(far, receive=False))
        except BaseException:
            self.close()
            raise
        return self


def _shared(ring: Ring) -> CRing:
    """The ring as the peer takes it."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(ring.memory))
    ends = [base + 4 * ring._ours, base + 4 * ring._theirs]
    producer, consumer = ends if ring._produces else reversed(ends)
    flags = base + 4 * ring._flags
    return CRing(producer, consumer, flags, base + ring.entries, ring.count)


def _sender(
    library: ctypes.CDLL, link: XdpLink, frame: bytes, copy: bool
) -> Callable[[], float]:
    """The C loop that sends `FRAMES` frames by a link's socket."""
    queue = link.queues[0]
    sender = queue.sender
    tx, done = _shared(sender.tx), _shared(sender.done)
    umem = ctypes.addressof(ctypes.c_char.from_buffer(sender.slots.memory))
    chunk, base = sender.slots.size, sender.slots.offsets[0]
    sender.slots.put(0, [frame] * sender.tx.count, [len(frame)] * sender.tx.count)
    arguments = (
        ctypes.c_int(queue.fd), ctypes.c_void_p(umem), ctypes.byref(tx),
        ctypes.byref(done), ctypes.c_uint64(base), ctypes.c_uint32(chunk),
        ctypes.c_char_p(frame if copy else None), ctypes.c_uint32(len(frame)),
        ctypes.c_uint32(BATCH), ctypes.c_uint32(FRAMES),
    )  # fmt: skip
    return lambda: float(library.transmit(*arguments))


Turns = tuple[Callable[[], float], Callable[[], float]]


def _transmitters(
    library: ctypes.CDLL, ours: _Side, theirs: _Side, frame: bytes, one: bool
) -> Turns:
    link = ours.link
    batch = [frame] * BATCH

    def turn() -> float:
        left = FRAMES
        start = time.thread_time_ns()
        while left:
            left -= link.generate(frame, min(left, BATCH)) if one else link.send(batch)
        return (time.thread_time_ns() - start) / FRAMES

    return turn, _sender(library, theirs.link, frame, not one)


def _receivers(
    library: ctypes.CDLL, ours: _Side, theirs: _Side, frame: bytes, drain: bool
) -> Turns:
    send_ours = _sender(library, ours.far, frame, False)
    send_theirs = _sender(library, theirs.far, frame, False)
    link, receiver = ours.link, theirs.link.queues[0].receiver
    rx, fill = _shared(receiver.rx), _shared(receiver.fill)
    octets = ctypes.c_uint64(0)
    arguments = (
        ctypes.byref(rx), ctypes.byref(fill), ctypes.c_uint32(receiver.chunk),
        ctypes.c_uint32(BATCH), ctypes.c_uint32(FRAMES), ctypes.byref(octets),
    )  # fmt: skip

    def turn() -> float:
        sent = send_ours()
        before, left = link.counters.received_bytes, FRAMES
        start = time.thread_time_ns()
        while left:
            count = link.count(BATCH, timeout=0)
            assert count
            left -= count
        took = (time.thread_time_ns() - start) / FRAMES
        assert link.counters.received_bytes - before == FRAMES * len(frame)
        return took if drain else took + sent

    def their_turn() -> float:
        sent = send_theirs()
        before = octets.value
        took = float(library.drain(*arguments))
        assert took > 0
        assert octets.value - before == FRAMES * len(frame)
        return took if drain else took + sent

    return turn, their_turn
