"""bench xen: the front end's rings against a C loop, and links in a Xen domain.

`ring 32` is on plain memory, in one process, turn by turn: 32 frames are sent and 32
received, with everything that a front end does itself: copies into and out of granted
pages, requests, checks of responses. The back end is played for both sides alike, by
one copy of ready responses a batch and one store of the index. Nobody waits for
anything, so it is the thread's processor time that is measured.

The other cases need dom0 (`benchmarks.xen_vif`). The peer is the kernel's own
netfront, used by the same Python through AF_PACKET.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
import struct
import time
from collections.abc import Callable, Iterator

from rumphyper.errors import RumphyperError
from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring
from rumphyper.ring.netif_rx import RxFront
from rumphyper.ring.netif_tx import TxFront

from .harness import Row, compile_c, interleave, skipped
from .xen_vif import links

BATCH = 32
FRAME = 1514
LAPS = 64
TX_PAGES, RX_PAGES = 128, 256
POOL = 2 * abi.PAGE
"""Where the pages of frames begin, behind the two rings."""

PEER = """
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { BATCH = 32, FRAME = 1514, TX = 128, PAGE = 4096 };
struct ring { volatile uint32_t req_prod, req_event, rsp_prod, rsp_event; };
struct txq { uint32_t ref; uint16_t offset, flags, id, size; };
struct txp { uint16_t id; int16_t status; char rest[8]; };
struct rxq { uint16_t id, pad; uint32_t ref; };
struct rxp { uint16_t id, offset, flags; int16_t status; };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

double run(char *m, const char *frame, const char *tx_done, const char *rx_done,
           long laps)
{
    static char got[BATCH][2048];
    static uint16_t ids[256];
    static char flying[256];
    struct ring *tx = (void *)m, *rx = (void *)(m + PAGE);
    char *pool = m + 2 * PAGE, *lent = pool + TX * PAGE;
    uint32_t prod = 0, cons = 0, head = 0, tail = 0, rprod = 256, rcons = 0;
    int wanted = 0;
    for (int i = 0; i < 256; i++)
        ids[i] = i % TX;
    memset(flying, 0, sizeof flying);
    double start = now();
    for (long lap = 0; lap < laps; lap++) {
        for (int i = 0; i < BATCH; i++, prod++, head++) {
            uint16_t id = ids[head % 256];
            struct txq *q = (struct txq *)(m + 64) + prod % 256;
            memcpy(pool + id * PAGE, frame, FRAME);
            *q = (struct txq){ 1000 + id, 0, 0, id, FRAME };
            flying[id] = 1;
        }
        tx->req_prod = prod;
        __sync_synchronize();
        wanted += prod - tx->req_event < BATCH;
        memcpy(m + 64 + cons % 256 * 12, tx_done + cons % 256 * 12, BATCH * 12);
        tx->rsp_prod = prod;
        for (uint32_t end = tx->rsp_prod; cons != end; cons++, tail++) {
            struct txp p = ((struct txp *)(m + 64))[cons % 256];
            if (p.id >= TX || !flying[p.id] || p.status)
                return -1;
            flying[p.id] = 0;
            ids[(tail + TX) % 256] = p.id;
        }
        memcpy(m + PAGE + 64 + rcons % 256 * 8, rx_done + rcons % 256 * 8, BATCH * 8);
        rx->rsp_prod = rcons + BATCH;
        for (uint32_t end = rx->rsp_prod; rcons != end; rcons++) {
            struct rxp p = ((struct rxp *)(m + PAGE + 64))[rcons % 256];
            if (p.id >= 256 || p.offset + p.status > PAGE)
                return -1;
            memcpy(got[rcons % BATCH], lent + p.id * PAGE + p.offset, p.status);
            *((struct rxq *)(m + PAGE + 64) + rprod++ % 256) =
                (struct rxq){ p.id, 0, 2000 + p.id };
        }
        rx->req_prod = rprod;
        __sync_synchronize();
        wanted += rprod - rx->req_event < BATCH;
    }
    return (now() - start) / (laps * 2 * BATCH);
}
"""


def run(quick: bool) -> Iterator[Row]:
    """Yield the rows of rings, then those of links."""
    try:
        peer = compile_c(PEER, shared=True)
    except RumphyperError as error:
        yield skipped("xen", f"ring {BATCH}", str(error))
    else:
        try:
            loop = ctypes.CDLL(str(peer)).run
            loop.restype = ctypes.c_double
            loop.argtypes = [*[ctypes.c_void_p] * 4, ctypes.c_long]
            yield _rings(loop, runs=101 if quick else 401)
        finally:
            shutil.rmtree(peer.parent)
    yield from links(quick)


def _rings(loop: Callable[..., float], runs: int) -> Row:
    memory = mmap.mmap(-1, POOL + (TX_PAGES + RX_PAGES) * abi.PAGE)
    pin = ctypes.c_char.from_buffer(memory)
    frame = bytes(range(256)) * 5 + bytes(FRAME - 1280)
    tx_done = b"".join(struct.pack("=Hh8x", n % TX_PAGES, 0) for n in range(abi.SLOTS))
    rx_done = b"".join(struct.pack("=HHHh", n, 0, 0, FRAME) for n in range(abi.SLOTS))

    def theirs() -> float:
        value = loop(ctypes.addressof(pin), frame, tx_done, rx_done, LAPS)
        assert value >= 0
        return value

    def ours() -> float:
        return _ours(memory, frame, tx_done, rx_done)

    return interleave(
        "xen",
        f"ring {BATCH}",
        "ns/frame",
        ours,
        "C loop",
        theirs,
        runs,
        more_is_better=False,
    )


def _ours(memory: mmap.mmap, frame: bytes, tx_done: bytes, rx_done: bytes) -> float:
    """The same by Python's rings, which lie where C's do, but for the pools."""
    tx_page, rx_page, tx_pool, rx_pool = (
        mmap.mmap(-1, pages * abi.PAGE) for pages in (1, 1, TX_PAGES, RX_PAGES)
    )
    tx = TxFront(
        Ring(tx_page, abi.TX_ENTRY, "tx", front=True),
        tx_pool,
        range(1000, 1000 + TX_PAGES),
    )
    rx = RxFront(
        Ring(rx_page, abi.RX_ENTRY, "rx", front=True),
        rx_pool,
        range(2000, 2000 + RX_PAGES),
    )
    rx.post()
    rx.ring.push()
    frames = [frame] * BATCH
    at = 0
    prod = [struct.pack("=I", BATCH * (lap + 1)) for lap in range(LAPS)]
    begin = abi.ENTRIES
    start = time.thread_time_ns()
    for lap in range(LAPS):
        tx.send(frames)
        tx.ring.push()
        one, two = at * abi.TX_ENTRY, at * abi.RX_ENTRY
        end = one + BATCH * abi.TX_ENTRY
        tx_page[begin + one : begin + end] = tx_done[one:end]
        tx_page[abi.RSP_PROD : abi.RSP_PROD + 4] = prod[lap]
        tx.collect()
        end = two + BATCH * abi.RX_ENTRY
        rx_page[begin + two : begin + end] = rx_done[two:end]
        rx_page[abi.RSP_PROD : abi.RSP_PROD + 4] = prod[lap]
        assert len(rx.take(BATCH).frames) == BATCH
        rx.post()
        rx.ring.push()
        at = (at + BATCH) % abi.SLOTS
    return (time.thread_time_ns() - start) / (LAPS * 2 * BATCH)
