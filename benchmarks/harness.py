"""What the benchmarks share: rows, interleaved runs, C peers.

Machines are noisy, so a value never stands alone: rumphyper and its peer run
turn by turn, the row gives the median of each and the spread of the ratio.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from rumphyper.errors import UnsupportedError


@attrs.frozen
class Row:
    """One case of one benchmark.

    ``ratio`` is rumphyper's speed over the peer's, above 1 when rumphyper is
    faster, whatever the unit. ``spread`` is the interquartile range of the
    runs' ratios over their median. A case that could not run has only
    ``skipped``, the reason.
    """

    bench: str
    case: str
    value: float | None = None
    unit: str = ""
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    runs: int = 0
    spread: float | None = None
    skipped: str = ""

    def as_dict(self) -> dict[str, object]:
        """The row for ``--json``; ``skipped`` only where it has a reason."""
        row = attrs.asdict(self)
        if not self.skipped:
            del row["skipped"]
        return row


def skipped(bench: str, case: str, reason: str) -> Row:
    """The row of a case that cannot run here."""
    return Row(bench, case, skipped=reason)


T = TypeVar("T")


def turns(
    ours: Callable[[], T], theirs: Callable[[], T], runs: int, *, warm_up: bool = True
) -> list[tuple[T, T]]:
    """What ``ours`` and ``theirs`` return, turn by turn.

    A first turn of each to ``warm_up`` is not counted. Who goes first
    alternates, so that neither side always runs on the caches that the other
    has left.
    """
    if warm_up:
        ours()
        theirs()
    pairs: list[tuple[T, T]] = []
    for turn in range(runs):
        if turn % 2:
            their_value = theirs()
            pairs.append((ours(), their_value))
        else:
            our_value = ours()
            pairs.append((our_value, theirs()))
    return pairs


def summary(
    bench: str,
    case: str,
    unit: str,
    peer: str,
    pairs: Sequence[tuple[float, float]],
    *,
    more_is_better: bool,
) -> Row:
    """The row of some turns' values."""
    ratios = [a / b if more_is_better else b / a for a, b in pairs]
    return Row(
        bench,
        case,
        value=statistics.median(a for a, _ in pairs),
        unit=unit,
        peer=peer,
        peer_value=statistics.median(b for _, b in pairs),
        ratio=statistics.median(ratios),
        runs=len(pairs),
        spread=spread(ratios),
    )


def interleave(
    bench: str,
    case: str,
    unit: str,
    ours: Callable[[], float],
    peer: str,
    theirs: Callable[[], float],
    runs: int,
    *,
    more_is_better: bool,
) -> Row:
    """Measure ``ours`` and ``theirs``, in ``unit``, turn by turn."""
    pairs = turns(ours, theirs, runs)
    return summary(bench, case, unit, peer, pairs, more_is_better=more_is_better)


def spread(values: Sequence[float]) -> float:
    """Interquartile range over the median; 0 for fewer than three values."""
    if len(values) < 3:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values)


def compile_c(source: str, *flags: str, shared: bool = False) -> Path:
    """Compile a C peer with the host's compiler; return the file made.

    The file lies in a temporary folder of its own, which the caller removes.
    Raises UnsupportedError when there is no compiler or it refuses.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise UnsupportedError("C peer", "no C compiler found", "install gcc or clang")
    folder = Path(tempfile.mkdtemp(prefix="rumphyper-bench-"))
    target = folder / ("peer.so" if shared else "peer")
    mode = ["-shared", "-fPIC"] if shared else []
    made = subprocess.run(
        [compiler, "-O2", "-x", "c", "-", *mode, "-o", str(target), *flags],
        input=source,
        text=True,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        shutil.rmtree(folder)
        raise UnsupportedError("C peer", made.stderr.strip(), "mend the benchmark")
    return target
