"""bench pyz: how fast `doctor` starts from one packed file.

The peer is the same command as it is installed. Time is the whole process's wall
clock; both do the same probes, some of them in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from zipimport import zipimporter

import rumphyper
from rumphyper.packing import pack

from .harness import Row, interleave, skipped


def _milliseconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is ours alone
    )
    return (time.perf_counter() - start) * 1e3


def run(quick: bool) -> Iterator[Row]:
    """Yield the case ``doctor``."""
    spec = rumphyper.__spec__
    if spec is not None and isinstance(spec.loader, zipimporter):
        reason = "this is a packed file: run it from an installation"
        yield skipped("pyz", "doctor", reason)
        return
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-") as folder:
        file = Path(folder, "rumphyper.pyz")
        pack(file)
        yield interleave(
            "pyz",
            "doctor",
            "ms",
            lambda: _milliseconds(str(file), "doctor"),
            "installed",
            lambda: _milliseconds("-m", "rumphyper", "doctor"),
            7 if quick else 21,
            more_is_better=False,
        )
