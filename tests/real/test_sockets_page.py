"""docs/sockets.md: its examples run, one after the other, in one kernel."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rumphyper.kernel.filesystem import FileSystem
from tests.real.kernel_session import ROOT
from tests.real.rump import require_rump, without_chance

PAGE = (ROOT / "docs/sockets.md").read_text()


def examples() -> list[str]:
    """The Python blocks, without those that need something of the host."""
    return re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.rump
def test_examples_run(tmp_path: Path) -> None:
    require_rump()
    program = tmp_path / "page.py"
    program.write_text("\n".join(examples()))
    done = subprocess.run(
        [sys.executable, "-W", "error", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"b'hello' from \('127\.0\.0\.1', \d+\)\n"
        r"b'ECHO THIS'\n"
        r"first line\n"
        r"b'hi'\n"
        r"a low port: \d{1,4}\n"
        r"\['today'\] 7\n"
        r"from the host\n",
        without_chance(done.stdout),
    ), done.stdout


def test_functions_exist() -> None:
    """Each function that the page names is there, and none is left out."""
    table = PAGE.split("functions of `kernel.fs`")[1].split("They take")[0]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", table))))
    there = {name for name in dir(FileSystem) if not name.startswith("_")}
    assert named == there - {"abandon", "is_folder"}
