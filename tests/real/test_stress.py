"""Threads, pipes, files, UDP, TCP and interfaces at once, in every mode.

A short turn of each; `stress_cases.py` says how to run it for hours.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rumphyper.hypercalls.modes import MODES
from tests.real.netbsd_session import finish, start
from tests.real.rump import MODE, require_rump

pytestmark = pytest.mark.rump
SECONDS = "3"


@pytest.mark.parametrize("ncpu", ["1", "2", "4"])
def test_everything_at_once(
    ncpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the four modes side by side, which is also how a busy host looks."""
    require_rump()
    running = {}
    for mode in MODES:
        monkeypatch.setenv(MODE, mode)
        bus = str(tmp_path / mode)
        running[mode] = start("stress", ncpu, SECONDS, bus, inside=())
    found = {mode: finish(process) for mode, process in running.items()}
    for mode, report in found.items():
        assert (report["errors"], report["problems"]) == ([], {}), mode
        assert report["left"] is True, mode
        assert all(report["rounds"].values()), (mode, report["rounds"])
