"""The bench command: rows as documented, in time, and honest about skips."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FIELDS = {"bench", "case", "value", "unit", "peer", "peer_value", "ratio", "runs"}


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rumphyper", "bench", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_row_has_the_documented_fields() -> None:
    done = bench("import", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads(done.stdout) if row["case"] == "import")
    assert set(row) == FIELDS | {"spread"}
    assert row["unit"] == "ms"
    assert row["value"] > 0
    assert row["peer_value"] > 0


@pytest.mark.parametrize("as_json", [True, False])
def test_ctrl_c_keeps_what_has_been_measured(as_json: bool) -> None:
    """The whole process group gets it, as from a terminal."""
    words = ("-m", "rumphyper", "bench", "import", *["--json"][: int(as_json)])
    process = subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text():
        time.sleep(0.01)  # it runs Python 84 times
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    if as_json:
        assert isinstance(json.loads(output), list)


def test_unknown_benchmark_names_the_known_ones() -> None:
    done = bench("nosuch")
    assert done.returncode == 2
    assert "nosuch" in done.stderr
    assert "import" in done.stderr
    assert done.stderr.count("\n") == 1


def test_import_loads_no_room() -> None:
    code = (
        "import sys, rumphyper;"
        "print([m for m in sys.modules if m.startswith('rumphyper.') or m == 'ctypes'])"
    )
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.strip() == "[]"


def test_markdown_is_a_table() -> None:
    done = bench("import", "--quick", "--markdown")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {8}
