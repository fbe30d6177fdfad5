"""What ``rumphyper trace`` makes of its arguments: which calls, how slow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.catalogue import CATALOGUE, lookup, members

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def duration(text: str) -> float:
    """Seconds from ``100us``, ``2ms`` or plain ``0.5``."""
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * UNITS.get(unit, 1.0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time: 100us, 2ms or 0.5")
    return seconds


def select(expressions: Sequence[str]) -> set[str]:
    """The hypercalls that ``-e`` expressions name; several add up.

    Raises UnsupportedError for what is not known, and when nothing is left.
    """
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for expression in expressions:
        kind, equals, listed = expression.partition("=")
        if not equals:
            kind, listed = "trace", expression
        if kind not in ("trace", "t", "family"):
            remedy = "write NAME,... or family=NAME,..., with ! before to exclude"
            raise UnsupportedError(f"-e {expression}", "no such expression", remedy)
        words = listed.removeprefix("!").split(",")
        names = {name for word in words for name in _named(kind, word)}
        (unwanted if listed.startswith("!") else wanted).update(names)
    chosen = (wanted or set(CATALOGUE)) - unwanted
    if not chosen:
        raise UnsupportedError(
            f"-e {' -e '.join(expressions)}", "no hypercall is left", "exclude fewer"
        )
    return chosen


def _named(kind: str, word: str) -> set[str]:
    if kind == "family" or word.startswith("%"):
        return {call.name for call in members(word.removeprefix("%"))}
    return {lookup(word).name}
