"""bench hypercalls: each mode of answering hypercalls beside the stock C ones.

The same kernel on both sides, each with its own default settings, every
measurement in fresh processes: TCP and UDP between two kernels of one side on a
shared-memory bus, and what rump_init takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError

from .harness import Row, skipped, summary, turns
from .netbsd import Side, stock_folder

PEER = "stock C hypercalls"
MODES = ("hybrid", "libc", "python")
NCPU = None
"""Each side has its own default: one virtual CPU, NetBSD two."""

MIB = {"hybrid": 96, "libc": 48, "python": 24}
"""How much TCP: about as many seconds in each mode. The peer sends as much."""

ROUND_TRIPS = 1000
Measure = Callable[[Side, dict[str, Any]], float]


def run(quick: bool) -> Iterator[Row]:
    """Yield the rows of all modes; all are skipped without the libraries."""
    cases: tuple[tuple[str, str, bool], ...] = (
        ("tcp", "Mbit/s", True),
        ("init", "ms", False),
        ("udp", "us", False),
    )
    try:
        folder = stock_folder()
    except RumphyperError as error:
        for mode in MODES:
            for case, _, _ in cases:
                yield skipped("hypercalls", f"{mode} {case}", str(error))
        return
    stock = Side("netbsd_stock.py", folder)
    ours = Side("netbsd_ours.py", folder)
    runs = 2 if quick else 9
    for mode in MODES:
        mib = MIB[mode] // (4 if quick else 1)
        measures: dict[str, Measure] = {"tcp": _tcp(mib), "init": _init, "udp": _udp}
        boot: dict[str, Any] = {"boot": {"hypercalls": mode}}
        for case, unit, more in cases:
            measure = measures[case]
            pairs = turns(
                partial(measure, ours, boot),
                partial(measure, stock, {}),
                runs * (3 if case == "init" else 1),
                warm_up=False,  # each is a process of its own
            )
            yield summary(
                "hypercalls", f"{mode} {case}", unit, PEER, pairs, more_is_better=more
            )


def _tcp(mib: int) -> Measure:
    def measure(side: Side, settings: dict[str, Any]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            bus = str(Path(folder) / "bus")
            with side.serving(["sink", f"{mib}:{bus}"], NCPU, **settings):
                said = side.run(["bustcp", f"{mib}:{bus}"], NCPU, **settings)
        return float(said["mbit"])

    return measure


def _udp(side: Side, settings: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        bus = str(Path(folder) / "bus")
        with side.serving(["serve", bus], NCPU, **settings):
            said = side.run(["udp", f"{ROUND_TRIPS}:{bus}"], NCPU, **settings)
    return float(said["us"])


def _init(side: Side, settings: dict[str, Any]) -> float:
    return float(side.run(["boot", "-"], NCPU, **settings)["boot_ms"])
