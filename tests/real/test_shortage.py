"""A kernel that finds no memory, no descriptors or no threads, in every mode."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rumphyper.hypercalls.modes import MODES
from tests.real.ending_cases import STATUS
from tests.real.rump import require_rump
from tests.real.test_endings import finish, start

pytestmark = pytest.mark.rump
MEBIBYTE = 1 << 20

REFUSED, PANIC, WORKS = "refused", "panic", "works"


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()
    if os.getuid():
        pytest.skip("being another user needs root")


@pytest.mark.parametrize(
    ("what", "more", "outcome"),
    [
        ("descriptors", 0, REFUSED),
        ("descriptors", 4, REFUSED),
        ("descriptors", 40, WORKS),
        ("threads", 0, PANIC),
        ("threads", 3, PANIC),
        ("threads", 12, PANIC),
        ("threads", 60, WORKS),
        ("memory", 1 * MEBIBYTE, REFUSED),
        ("memory", 10 * MEBIBYTE, REFUSED),
        ("memory", 40 * MEBIBYTE, PANIC),
        ("memory", 8192 * MEBIBYTE, WORKS),
    ],
)
def test_a_boot_with_little(what: str, more: int, outcome: str) -> None:
    """An error that says what is missing, from us or as NetBSD's panic."""
    running = {mode: start(mode, "short", what, str(more)) for mode in MODES}
    for mode, process in running.items():
        status, out, err = finish(process)
        if outcome == WORKS:
            assert (status, out, err) == (0, "works\n", ""), mode
        elif outcome == REFUSED:
            assert status == STATUS, (mode, out, err)
            # Python's own OSError when it was to import something.
            assert out.startswith(("refused: HostError", "refused: OSError")), mode
            assert "Too many open" in out or "Cannot allocate" in out, (mode, out)
        else:
            assert (status, "panic: " in out) == (-signal.SIGABRT, True), (mode, err)


@pytest.mark.parametrize("what", ["descriptors", "threads", "memory"])
def test_work_with_little(what: str, tmp_path: Path) -> None:
    """What needs more fails, and all is well when there is more again."""
    running = {
        mode: start(mode, "small", what, "0", str(tmp_path / mode)) for mode in MODES
    }
    for mode, process in running.items():
        status, out, err = finish(process)
        assert (status, err) == (0, ""), (mode, out)
        assert int(out.split()[0]) > 0, mode
