"""docs/trace.md: its examples run, its options are those of the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import run
from tests.hypercalls.support import run_python

PAGE = (Path(__file__).parents[2] / "docs/trace.md").read_text()


def blocks(kind: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
    return [body for of_kind, body in found if of_kind == kind]


@pytest.mark.rump
def test_examples_in_python(
    stock_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = (run_python(block) for block in blocks("python"))
    assert (one.returncode, one.stderr) == (two.returncode, two.stderr) == (0, "")
    assert re.search(r" \d+ +rumpuser_mutex_enter$", one.stdout, re.M)
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert int(two.stdout) > 10


@pytest.mark.rump
def test_examples_on_the_command_line(
    stock_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs, and what it prints has the form of what is on the page."""
    script, trace = tmp_path / "script.py", tmp_path / "trace.json"
    script.write_text("kernel.socket().close()\n")
    for block in blocks(""):
        command, *shown = block.splitlines()
        words = command.removeprefix("$ rumphyper ").partition(" && ")[0].split()
        places = {"script.py": str(script), "trace.json": str(trace)}
        done = run(*(places.get(word, word) for word in words))
        assert done.returncode == 0, done.stderr
        printed = trace.read_text() if "--chrome" in words else done.stderr
        forms = {form(line) for line in printed.splitlines()}
        for line in shown:
            assert line == "..." or form(line) in forms, line


def form(line: str) -> str:
    """A line without what differs from run to run."""
    line = re.sub(r"0x[0-9a-f]+", "0x", line)
    line = re.sub(r'"(RUMP_|_RUMPUSER_)\w+", ("\d+"|0x), \d+\) = \d+( \w+)?', "", line)
    line = re.sub(r'\\?"(rsi|aiod)[\w/]+\\?".*?\[NULL\]', "", line)
    return re.sub(r"[\d.]+", "0", line).replace(" ", "")


def test_options_are_the_commands() -> None:
    help = run("trace", "--help").stdout
    table = PAGE[PAGE.index("| option |") : PAGE.index("$ rumphyper trace --json")]
    for option in re.findall(r"`(--?[\w-]+)", table):
        assert re.search(rf"(^|[ ,]){option}\b", help), option
