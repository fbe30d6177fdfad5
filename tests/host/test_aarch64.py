"""The aarch64 templates at work: the thunks' own tests under emulation."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests import arm64

ROOT = Path(__file__).parents[2]
FILES = ("test_thunks*", "test_recorder*", "test_atomic", "test_loader")


@pytest.mark.skipif(
    os.uname().machine == "aarch64", reason="they run here without emulation"
)
def test_thunks_recorder_words_and_loader_on_aarch64() -> None:
    folder = ROOT / "tests/host"
    files = [str(path) for name in FILES for path in folder.glob(f"{name}.py")]
    options = ["-q", "--assert=plain", "-p", "no:cacheprovider"]
    ran = arm64.python(["-m", "pytest", *options, *files], ROOT)
    assert ran.returncode == 0, ran.stdout
    summary = ran.stdout.splitlines()[-1]
    count = re.match(r"(\d+) passed in ", summary)  # and none skipped or failed
    assert count, ran.stdout
    assert int(count[1]) >= 100


def test_it_is_aarch64_that_was_tested() -> None:
    program = (
        "from rumphyper.host import machine, thunks\n"
        "print(machine.current().name, thunks.supported())"
    )
    ran = arm64.python(["-c", program], ROOT)
    assert ran.stdout == "aarch64 True\n"
