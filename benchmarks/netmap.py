"""bench netmap: batches on two rings against a C loop on the same rings.

The rings are in an anonymous mapping laid out as netmap lays them out, in one
process, turn by turn. Between two laps somebody has to play the kernel, who
gives all slots of both rings back: one store into each tail, the same for both
sides. So what is measured is what an application does itself; the system calls
are the same for everybody and are not in it.

Both sides do the same work: *generate* looks whether the kernel has changed a
slot's buffer and gives the slots over, *count* gives back what has arrived,
*forward* checks slots, lets them trade places and marks them as changed (in C as
netmap's bridge does), *copy out* makes a copy of each frame.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
import struct
import time
from collections.abc import Callable, Iterator

from rumphyper.errors import RumphyperError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap import Ring
from rumphyper.ring.netmap_fill import Filler
from rumphyper.ring.netmap_frames import copy_out
from rumphyper.ring.netmap_swap import swapper

from .harness import Row, compile_c, interleave, skipped

CASES = (
    ("generate", 256),
    ("count", 256),
    ("forward", 32),
    ("forward", 256),
    ("forward", 1024),
    ("copy out", 256),
)
FRAME = 60
BUF_SIZE = 2048
RINGS = 1 << 16
"""Octets from one ring to the next."""
FIRST_BUFFER = 1 << 18
LAPS = 20
"""Times that one turn goes round the rings."""

PEER = """
#include <stdint.h>
#include <string.h>
#include <time.h>

struct slot { uint32_t buf_idx; uint16_t len, flags; uint64_t ptr; };
struct ring {
    int64_t buf_ofs; uint32_t num_slots, buf_size; uint16_t ringid, dir;
    volatile uint32_t head, cur, tail; uint32_t flags;
    char rest[256 - 36]; struct slot slot[];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static uint32_t space(struct ring *r, uint32_t most)
{
    int32_t n = r->tail - r->cur;
    if (n < 0)
        n += r->num_slots;
    return n < most ? n : most;
}

static uint32_t next(struct ring *r, uint32_t i)
{
    return i + 1 == r->num_slots ? 0 : i + 1;
}

static volatile int bad;

static uint32_t generate(struct ring *rx, struct ring *tx, uint32_t most)
{
    uint32_t n = space(tx, most), at = tx->cur;
    for (uint32_t i = 0; i < n; i++, at = next(tx, at))
        if (tx->slot[at].flags & 1)
            memset((char *)tx + tx->buf_ofs + tx->slot[at].buf_idx * 2048UL, 0, 60);
    tx->head = tx->cur = at;
    return n;
}

static uint32_t count(struct ring *rx, struct ring *tx, uint32_t most)
{
    uint32_t n = space(rx, most), at = rx->cur + n;
    rx->head = rx->cur = at >= rx->num_slots ? at - rx->num_slots : at;
    return n;
}

static uint32_t forward(struct ring *rx, struct ring *tx, uint32_t most)
{
    uint32_t n = space(rx, space(tx, most)), from = rx->cur, to = tx->cur;
    for (uint32_t i = 0; i < n; i++, from = next(rx, from), to = next(tx, to)) {
        struct slot *r = &rx->slot[from], *t = &tx->slot[to];
        uint32_t index = t->buf_idx;
        if (index < 2 || r->buf_idx < 2 || r->len > rx->buf_size)
            return bad = 1, 0;
        t->len = r->len;
        t->buf_idx = r->buf_idx;
        r->buf_idx = index;
        t->flags = (t->flags & ~0x20) | (r->flags & 0x20) | 1;
        r->flags |= 1;
    }
    rx->head = rx->cur = from;
    tx->head = tx->cur = to;
    return n;
}

static uint32_t copy_out(struct ring *rx, struct ring *tx, uint32_t most)
{
    static char frames[1024][2048];
    uint32_t n = space(rx, most), at = rx->cur;
    for (uint32_t i = 0; i < n; i++, at = next(rx, at)) {
        struct slot *s = &rx->slot[at];
        memcpy(frames[i], (char *)rx + rx->buf_ofs + s->buf_idx * 2048UL, s->len);
    }
    rx->head = rx->cur = at;
    return n;
}

double run(char *memory, int what, long most, long laps)
{
    static uint32_t (*const work[])(struct ring *, struct ring *, uint32_t) = {
        generate, count, forward, copy_out
    };
    struct ring *rx = (struct ring *)memory, *tx = (struct ring *)(memory + 65536);
    double start = now();
    long done = 0;
    for (long i = 0; i < laps; i++) {
        rx->tail = (rx->cur ? rx->cur : rx->num_slots) - 1;
        tx->tail = (tx->cur ? tx->cur : tx->num_slots) - 1;
        for (long n = 1, lap = 0; n && lap < rx->num_slots - 1; lap += n)
            done += n = work[what](rx, tx, most);
    }
    return bad ? -1 : (now() - start) / done;
}
"""
WORK = ("generate", "count", "forward", "copy out")


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each of `CASES`."""
    try:
        peer = compile_c(PEER, shared=True)
    except RumphyperError as error:
        for what, batch in CASES:
            yield skipped("netmap", f"{what} {batch}", str(error))
        return
    try:
        loop = ctypes.CDLL(str(peer)).run
        loop.restype = ctypes.c_double
        loop.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_long]
        for what, batch in CASES:
            yield _case(loop, what, batch, runs=101 if quick else 401)
    finally:
        shutil.rmtree(peer.parent)


def _case(loop: Callable[..., float], what: str, batch: int, runs: int) -> Row:
    slots = 1024 if batch < 1024 else 2048
    memory = mmap.mmap(-1, FIRST_BUFFER + 2 * (slots + 1) * BUF_SIZE)
    _lay_out(memory, 0, slots, abi.FIRST_BUFFER)
    _lay_out(memory, RINGS, slots, abi.FIRST_BUFFER + slots)
    work = WORK.index(what)
    pin = ctypes.c_char.from_buffer(memory)

    def theirs() -> float:
        value = float(loop(ctypes.addressof(pin), work, batch, LAPS))
        assert value >= 0
        return value

    def ours() -> float:
        # Begin with free rings: filling them is not what is measured.
        _lay_out(memory, 0, slots, abi.FIRST_BUFFER)
        _lay_out(memory, RINGS, slots, abi.FIRST_BUFFER + slots)
        rx = Ring(memory, 0, "rx", tx=False)
        tx = Ring(memory, RINGS, "tx", tx=True)
        step = _step(what, rx, tx)
        tails = [struct.pack("=I", (i or slots) - 1) for i in range(slots)]
        start = time.perf_counter_ns()
        done = 0
        for _ in range(LAPS):
            memory[abi.TAIL : abi.TAIL + 4] = tails[rx.cur]
            memory[RINGS + abi.TAIL : RINGS + abi.TAIL + 4] = tails[tx.cur]
            lap = 0
            while lap < slots - 1:
                lap += step(batch)
            done += lap
        return (time.perf_counter_ns() - start) / done

    return interleave(
        "netmap",
        f"{what} {batch}",
        "ns/slot",
        ours,
        "C loop",
        theirs,
        runs,
        more_is_better=False,
    )


def _lay_out(memory: mmap.mmap, at: int, slots: int, first: int) -> None:
    """Write a ring as the kernel does, with buffers from ``first`` on."""
    abi.RING.pack_into(
        memory, at, FIRST_BUFFER - at, slots, BUF_SIZE, 0, 0, 0, 0, slots - 1, 0
    )
    for number in range(slots):
        place = at + abi.SLOTS + number * abi.SLOT_SIZE
        abi.SLOT.pack_into(memory, place, first + number, FRAME, 0, 0)


def _step(what: str, rx: Ring, tx: Ring) -> Callable[[int], int]:
    """What is done with a batch of at most so many slots; returns how many."""
    if what == "forward":
        return swapper(rx, tx)
    if what == "count":
        return rx.advance
    if what == "copy out":
        return lambda batch: len(copy_out(rx, batch))
    return Filler(tx, bytes(FRAME)).send
