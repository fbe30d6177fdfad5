"""bench import: what ``import rumphyper`` costs beside what it is built on.

The peer imports attrs, ctypes and mmap, which any pure-Python program of this
kind needs. Time is the whole interpreter's wall clock from start to end;
memory is the peak resident set that the kernel reports for it (VmHWM).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from .harness import Row, interleave

PEER = "import attrs, ctypes, mmap"
OURS = "import rumphyper"
APART: dict[str, Any] = {"start_new_session": True}
"""Ctrl-C is ours alone: the child would print where it hit."""

PEAK = "; print([s for s in open('/proc/self/status') if s[:5] == 'VmHWM'][0])"


def _milliseconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, **APART)
    return (time.perf_counter() - start) * 1e3


def _peak_kib(code: str) -> float:
    """Peak resident set; rusage will not do, it counts the parent's too."""
    command = [sys.executable, "-c", code + PEAK]
    return float(subprocess.check_output(command, text=True, **APART).split()[1])


def run(quick: bool) -> Iterator[Row]:
    """Yield the case ``import`` in time, and ``import memory`` in KiB."""
    yield interleave(
        "import",
        "import",
        "ms",
        lambda: _milliseconds(OURS),
        PEER,
        lambda: _milliseconds(PEER),
        15 if quick else 41,
        more_is_better=False,
    )
    yield interleave(
        "import",
        "import memory",
        "KiB",
        lambda: _peak_kib(OURS),
        PEER,
        lambda: _peak_kib(PEER),
        5,
        more_is_better=False,
    )
