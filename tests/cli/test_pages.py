"""The examples of the pages on bridge and gen, as they stand."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from tests.cli.command import ROOT
from tests.judges import tool
from tests.namespace import isolated

TIMEOUT = 50


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shell(block: str, folder: Path) -> str:
    """What a block prints, with its files in ``folder``; nothing fails in it."""
    command = folder / "rumphyper"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rumphyper "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [tool("bash"), "-ec", block.replace("/tmp/", f"{folder}/") + "\nwait"],
        cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@isolated
def test_a_host_reaches_a_station_through_the_bridge(tmp_path: Path) -> None:
    for name in ("ping", "ip"):
        tool(name)
    (block,) = blocks("docs/bridge.md", "sh")
    out = shell(block, tmp_path)
    assert " 3 received" in out
    assert "--- bridge of 2 links" in out


def test_the_bridge_in_python(tmp_path: Path) -> None:
    (block,) = blocks("docs/bridge.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", block.replace("/tmp/", f"{tmp_path}/")],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "up\n", "")


def test_the_generator(tmp_path: Path) -> None:
    first, second = blocks("docs/gen.md", "sh")
    out = shell(first, tmp_path)
    assert "frames 10,000, octets 600,000" in out
    assert "lost 0, duplicates 0, reordered 0" in out
    assert "sent 1,000, answered 1,000" in out
    out = shell(second, tmp_path)
    assert "frames 1,000, octets 1,514,000" in out
    assert '"asked_per_s": 50000.0' in out
