"""bench dpdk: bursts of DPDK's ports against loops in C on the same ports.

Both run in one process, turn by turn, on one thread, and what is measured is its CPU
time. The C side uses DPDK's inline functions as any program does, compiled with the
flags of libdpdk's pkg-config.

*null forward* is one bound call for each burst, *null split* a receive and a
transmit call; *bpf mac swap* rewrites every frame by a program that DPDK compiles,
the C side by hand. *constant* sends the same frames again and again, which C leaves in
its mbufs; *payload* writes other octets into each frame, which C does in place.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

from rumphyper.dpdk.bpf import Program
from rumphyper.dpdk.bpfrun import Attached
from rumphyper.dpdk.calls import Burst
from rumphyper.dpdk.forward import Forwarder
from rumphyper.dpdk.queues import Mbufs
from rumphyper.errors import RumphyperError
from rumphyper.host.netns import enter_new
from rumphyper.link.dpdk import open_dpdk
from rumphyper.link.dpdk_link import DpdkLink

from . import dpdk_netbsd, dpdk_start, dpdk_testpmd
from .dpdk_start import flags
from .harness import Row, compile_c, interleave, skipped
from .spaces import print_rows, rows_of_child

BURSTS = (32, 64, 256, 512)
SWAP = 256
SENDS = (
    ("tap constant", "net_tap0,iface=bench0"),
    ("tap payload", "net_tap0,iface=bench0"),
    ("af_packet constant", "net_af_packet0,iface=bench1"),
    ("af_packet payload", "net_af_packet0,iface=bench1"),
)
CASES = (
    *(f"null {how} {size}" for how in ("forward", "split") for size in BURSTS),
    f"bpf mac swap {SWAP}",
    *dpdk_testpmd.CASES,
    *(case for case, _ in SENDS),
    *dpdk_start.CASES,
    *dpdk_netbsd.CASES,
)

FRAMES = 32768
"""Frames of one turn on net_null."""

BATCH = 128
"""Frames of one send; a turn has two."""

FRAME = (b"\2\0\0\0\0\1\2\0\0\0\0\2" + bytes.fromhex("88b5")).ljust(64, b"\0")

PEER = """
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

double forward(int from, int to, int size, long frames, int swap)
{
    struct rte_mbuf *burst[512];
    double start = now();
    long done = 0;
    while (done < frames) {
        uint16_t came = rte_eth_rx_burst(from, 0, burst, size), went;
        for (uint16_t i = 0; swap && i < came; i++) {
            struct rte_ether_hdr *h = rte_pktmbuf_mtod(burst[i], void *);
            struct rte_ether_addr kept = h->dst_addr;
            h->dst_addr = h->src_addr;
            h->src_addr = kept;
        }
        went = rte_eth_tx_burst(to, 0, burst, came);
        if (went < came)
            rte_pktmbuf_free_bulk(burst + went, came - went);
        done += went;
    }
    return (now() - start) / done;
}

double transmit(int to, struct rte_mempool *pool, const char *frame, int size,
    int batch, long frames, int payload)
{
    static uint64_t number;
    struct rte_mbuf *burst[512];
    double start = now();
    long done = 0;
    while (done < frames) {
        if (rte_pktmbuf_alloc_bulk(pool, burst, batch))
            return -1;
        for (int i = 0; i < batch; i++) {
            char *data = rte_pktmbuf_mtod(burst[i], char *);
            burst[i]->data_len = burst[i]->pkt_len = size;
            if (payload) {
                memcpy(data, frame, size);
                memcpy(data + 14, &number, sizeof number);
                number++;
            }
        }
        uint16_t went = rte_eth_tx_burst(to, 0, burst, batch);
        if (went < batch)
            rte_pktmbuf_free_bulk(burst + went, batch - went);
        done += went;
    }
    return (now() - start) / done;
}
"""


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each of `CASES`, measured in a process of its own."""
    yield from rows_of_child("dpdk", quick)


def inside(quick: bool) -> None:
    """Enter a namespace, measure, and print each row as a line of JSON."""
    print_rows(rows(31 if quick else 201))


def rows(runs: int) -> Iterator[Row]:
    """Measure all cases in this process, which enters a new namespace."""
    try:
        peer = compile_c(PEER, *flags(), shared=True)
        enter_new()
    except RumphyperError as error:
        for case in CASES:
            yield skipped("dpdk", case, str(error))
        return
    try:
        library = ctypes.CDLL(str(peer))
        for name in ("forward", "transmit"):
            getattr(library, name).restype = ctypes.c_double
        library.forward.argtypes = [ctypes.c_int] * 3 + [ctypes.c_long, ctypes.c_int]
        number = ctypes.c_int
        library.transmit.argtypes = [
            *(number, ctypes.c_void_p, ctypes.c_char_p, number, number),
            *(ctypes.c_long, number),
        ]
        yield from _forwards(library, runs)
        command = "ip link add bench1 type veth peer name bench2"
        subprocess.run(command.split(), check=True)
        for name in ("bench1", "bench2"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        for case, device in SENDS:
            yield _send(library, case, device, runs)
        yield from dpdk_start.rows(min(runs, 11))
        yield from dpdk_netbsd.rows(min(1 + runs // 15, 9))
    finally:
        shutil.rmtree(peer.parent)


def _row(
    case: str, ours: Callable[[], float], theirs: Callable[[], float], runs: int
) -> Row:
    return interleave(
        "dpdk", case, "ns/frame", ours, "C loop", theirs, runs, more_is_better=False
    )


def _forwards(library: ctypes.CDLL, runs: int) -> Iterator[Row]:
    """Frames that net_null makes go to another net_null, which frees them."""
    with (
        open_dpdk("net_null0", mbufs=4095) as source,
        open_dpdk("net_null1") as target,
    ):
        numbers = source.port.number, target.port.number
        for how in ("forward", "split"):
            for size in BURSTS:
                step = _forward if how == "forward" else _split
                ours = step(source, target, size)

                def theirs(size: int = size) -> float:
                    return float(library.forward(*numbers, size, FRAMES, 0))

                yield _row(f"null {how} {size}", ours, theirs, runs)
        ours = _forward(source, target, SWAP)

        def swapped() -> float:
            # In C the frames are swapped by hand: nothing is attached then.
            attached = Attached(source.port, 0, Program().swap_macs())
            value = ours()
            attached.close()
            return value

        yield _row(
            f"bpf mac swap {SWAP}",
            swapped,
            lambda: float(library.forward(*numbers, SWAP, FRAMES, 1)),
            runs,
        )
        forwards = functools.partial(_forward, source, target)
        yield from dpdk_testpmd.rows(forwards, min(runs, 31))


def _forward(source: DpdkLink, target: DpdkLink, size: int) -> Callable[[], float]:
    forwarder = Forwarder(source.port, target.port, size=size)

    def ours() -> float:
        start = time.thread_time_ns()
        moved = forwarder.move(FRAMES // size)
        return (time.thread_time_ns() - start) / moved

    return ours


def _split(source: DpdkLink, target: DpdkLink, size: int) -> Callable[[], float]:
    mbufs = Mbufs(source.port, size)
    receive = Burst(source.rx[0].fast, mbufs.address, size).call
    transmit = Burst(target.tx[0].fast, mbufs.address, size).call

    def ours() -> float:
        start = time.thread_time_ns()
        for _ in range(FRAMES // size):
            came = receive()
            assert came == size
            went = transmit()
            if went < came:
                mbufs.free(went, came)
        return (time.thread_time_ns() - start) / FRAMES

    return ours


def _send(library: ctypes.CDLL, case: str, device: str, runs: int) -> Row:
    try:
        link = open_dpdk(device)
    except RumphyperError as error:
        return skipped("dpdk", case, str(error))
    payload = case.endswith("payload")
    turn = 2 * BATCH
    head, tail = FRAME[:14], FRAME[22:]
    numbers = iter(range(1 << 60))
    with link:
        port, pool = link.port.number, link.rx_pool.address

        def ours() -> float:
            start = time.thread_time_ns()
            done = 0
            while done < turn:
                if payload:
                    frames = [
                        head + next(numbers).to_bytes(8, "little") + tail
                        for _ in range(BATCH)
                    ]
                    done += link.send(frames)
                else:
                    done += link.generate(FRAME, BATCH)
            return (time.thread_time_ns() - start) / done

        def theirs() -> float:
            value = float(
                library.transmit(port, pool, FRAME, len(FRAME), BATCH, turn, payload)
            )
            assert value > 0
            return value

        return _row(case, ours, theirs, runs)
