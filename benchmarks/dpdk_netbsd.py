"""bench dpdk, netbsd: NetBSD's TCP/IP over net_tap, beside the same over a TAP link.

Both are `dpdk:` and `tap:` links of this package under one kernel: what DPDK's driver
costs, and what the way to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rumphyper.errors import RumphyperError

from .harness import Row, skipped, summary, turns
from .netbsd import Side, stock_folder
from .netbsd_tasks import TAP

TASKS = {
    "netbsd tcp send": ("tcp", "send:32", "mbit", "Mbit/s"),
    "netbsd tcp receive": ("tcp", "receive:32", "mbit", "Mbit/s"),
    "netbsd udp round trip": ("echo", "2000", "us", "us"),
}
"""By the case: task, its argument, what it tells, in which unit."""

CASES = tuple(TASKS)


def rows(runs: int) -> Iterator[Row]:
    """A row for each case; all are skipped without NetBSD's libraries."""
    try:
        side = Side("netbsd_ours.py", stock_folder())
    except RumphyperError as error:
        yield from (skipped("dpdk", case, str(error)) for case in CASES)
        return
    from rumphyper.kernel.tuning import TCP_BUFFER

    def measure(linkstr: str, task: str, argument: str, key: str) -> float:
        words = [task, argument]
        said = side.run(words, None, linkstr=linkstr, tcp_buffer=TCP_BUFFER)
        return float(said[key])

    dpdk, tap = f"dpdk:net_tap0,iface={TAP}", f"tap:{TAP}"
    for case, (task, argument, key, unit) in TASKS.items():
        what = (task, argument, key)
        pairs = turns(
            lambda what=what: measure(dpdk, *what),  # type: ignore[misc]
            lambda what=what: measure(tap, *what),  # type: ignore[misc]
            runs,
            warm_up=False,  # each is a process of its own
        )
        yield summary(
            "dpdk", case, unit, "tap link", pairs, more_is_better=unit == "Mbit/s"
        )
