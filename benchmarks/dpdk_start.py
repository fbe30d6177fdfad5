"""bench dpdk, start: until a port of net_null is open, in fresh processes.

The C side starts EAL with the same arguments and sets up the same port and pools.
Both tell how long that took, and what memory they then have.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

from rumphyper.dpdk.arguments import Options, arguments
from rumphyper.errors import RumphyperError, UnsupportedError

from .harness import Row, compile_c, skipped, summary, turns

CASES = ("start", "start memory")

PEER = """
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

int main(int argc, char **argv)
{
    struct rte_eth_conf conf;
    struct rte_mempool *rx, *tx;
    char line[256];
    long kib = 0;
    uint16_t port;
    double start = now();
    memset(&conf, 0, sizeof conf);
    if (rte_eal_init(argc, argv) < 0 ||
        rte_eal_hotplug_add("vdev", "net_null0", "") ||
        rte_eth_dev_get_port_by_name("net_null0", &port))
        return 1;
    rx = rte_pktmbuf_pool_create("rx", 2047, 250, 0, 2176, SOCKET_ID_ANY);
    tx = rte_pktmbuf_pool_create("tx", 1023, 0, 0, 2176, SOCKET_ID_ANY);
    if (!rx || !tx || rte_eth_dev_configure(port, 1, 1, &conf) ||
        rte_eth_rx_queue_setup(port, 0, 512, 0, NULL, rx) ||
        rte_eth_tx_queue_setup(port, 0, 512, 0, NULL) || rte_eth_dev_start(port))
        return 2;
    double took = now() - start;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "VmRSS: %ld", &kib);
    printf("[%f, %ld]\\n", took, kib);
    rte_eth_dev_stop(port);
    rte_eth_dev_close(port);
    rte_eal_cleanup();
    return 0;
}
"""

OURS = """
import json, re, time
start = time.perf_counter()
import rumphyper
with rumphyper.open_link("dpdk:net_null0"):
    took = (time.perf_counter() - start) * 1e3
    status = open("/proc/self/status").read()
    print(json.dumps([took, int(re.search(r"VmRSS:\\s*(\\d+)", status)[1])]))
"""


def flags() -> list[str]:
    """How programs of DPDK are compiled. UnsupportedError without libdpdk-dev."""
    tool = shutil.which("pkg-config")
    if tool is None:
        raise UnsupportedError("C peer", "no pkg-config", "install pkg-config")
    asked = subprocess.run(
        [tool, "--cflags", "--libs", "libdpdk"],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        cause = "DPDK's headers are not here"
        raise UnsupportedError("C peer", cause, "install libdpdk-dev")
    return shlex.split(asked.stdout)


def rows(runs: int) -> Iterator[Row]:
    """Time and memory of a start."""
    try:
        peer = compile_c(PEER, *flags())
    except RumphyperError as error:
        for case in CASES:
            yield skipped("dpdk", case, str(error))
        return
    options = Options(hugepages=False)
    words = [str(peer), *arguments(options, "rumphyperbench")[1:]]
    os.environ["RUNTIME_DIRECTORY"] = str(peer.parent)  # or it stays in /var/run
    try:
        pairs = turns(
            lambda: _run([sys.executable, "-c", OURS]), lambda: _run(words), runs
        )
    finally:
        del os.environ["RUNTIME_DIRECTORY"]
        shutil.rmtree(peer.parent)
    for index, (case, unit) in enumerate(zip(CASES, ("ms", "KiB"), strict=True)):
        values = [(ours[index], theirs[index]) for ours, theirs in pairs]
        yield summary("dpdk", case, unit, "C program", values, more_is_better=False)


def _run(words: Sequence[str]) -> list[float]:
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    found: list[float] = json.loads(ran.stdout.splitlines()[-1])
    return found
