"""bench trace: what it costs to look at a kernel's hypercalls.

The peer is the same kernel untraced, with the same settings. TCP goes between two
kernels on a shared-memory bus, both traced or both not, every measurement in
fresh processes. ``ring`` records every call, ``table`` sums up calls, errors and
time, ``count`` only counts; ``wrapper`` records with Python around every call,
as where there are no thunks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError

from .harness import Row, skipped, summary, turns
from .netbsd import Side, stock_folder

PEER = "untraced"
NCPU = 2
"""NetBSD's default, on both sides."""

MIB = {"ring": 128, "table": 128, "count": 128, "wrapper": 16}
"""How much TCP: some seconds in each case. The peer sends as much."""

CASES = (*(f"{kind} tcp" for kind in MIB), "ring init")


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each case; all are skipped without the libraries."""
    try:
        folder = stock_folder()
    except RumphyperError as error:
        yield from (skipped("trace", case, str(error)) for case in CASES)
        return
    side = Side("netbsd_ours.py", folder)
    runs = 3 if quick else 15
    for kind, amount in MIB.items():
        measure = partial(_tcp, side, amount // (4 if quick else 1))
        pairs = turns(partial(measure, kind), partial(measure, ""), runs, warm_up=False)
        yield summary(
            "trace", f"{kind} tcp", "Mbit/s", PEER, pairs, more_is_better=True
        )
    begin = partial(_init, side)
    pairs = turns(partial(begin, "ring"), partial(begin, ""), runs * 2, warm_up=False)
    yield summary("trace", "ring init", "ms", PEER, pairs, more_is_better=False)


def _tcp(side: Side, mib: int, kind: str) -> float:
    settings: dict[str, Any] = {"trace": kind}
    with tempfile.TemporaryDirectory() as folder:
        bus = str(Path(folder) / "bus")
        with side.serving(["sink", f"{mib}:{bus}"], NCPU, **settings):
            said = side.run(["bustcp", f"{mib}:{bus}"], NCPU, **settings)
    return float(said["mbit"])


def _init(side: Side, kind: str) -> float:
    return float(side.run(["boot", "-"], NCPU, trace=kind)["boot_ms"])
