"""However a process ends, with whatever signals, a busy kernel does not hold it.

More turns by hand: RUMPHYPER_TEST_ENDINGS=10 does each way ten times in each mode.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rumphyper.hypercalls.modes import MODES
from tests.real.ending_cases import WAYS
from tests.real.netbsd_session import PATIENCE, ROOT
from tests.real.rump import MODE, require_rump

pytestmark = pytest.mark.rump
TURNS = int(os.environ.get("RUMPHYPER_TEST_ENDINGS", "1"))


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()


def start(mode: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a case of ending_cases."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.real.ending_cases", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, MODE: mode}, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """The exit status, output and errors; one that hangs says where it does."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler tells
        try:
            _, err = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            err = "and SIGABRT did not end it"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"{process.args!r} hangs\n{err}")
    return process.returncode, out, err


@pytest.mark.parametrize("way", [way.__name__ for way in WAYS])
def test_ways_to_end(way: str) -> None:
    """In all modes side by side, at a moment that chance decides."""
    expected = next(WAYS[known] for known in WAYS if known.__name__ == way)
    for _ in range(TURNS):
        seed = os.urandom(8).hex()
        running = {mode: start(mode, way, seed) for mode in MODES}
        found = {mode: finish(process) for mode, process in running.items()}
        for mode, (status, _, err) in found.items():
            assert status == expected, (mode, seed, err)
            if way in ("raises", "interrupted"):
                last = err.rstrip().splitlines()[-1]
                assert last.startswith(("RuntimeError: this", "KeyboardInterrupt"))
                assert err.count("Traceback") == 1, (mode, seed, err)
            else:
                assert err == "", (mode, seed)


def test_signals_in_the_middle_of_everything() -> None:
    """Hundreds a second, to threads that are inside and to the process."""
    names = list(MODES)
    for modes in (names[:2], names[2:]):
        running = {mode: start(mode, "storm", "2") for mode in modes}
        for mode, process in running.items():
            status, _, err = finish(process)
            assert (status, err) == (0, ""), mode
