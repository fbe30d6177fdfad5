"""docs/faults.md: its words are understood and its examples run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rumphyper.errors import FaultError
from rumphyper.hypercalls.faults import clock, frames, parse_fault, text
from rumphyper.hypercalls.replay import CODECS, read_recording
from rumphyper.link import faulty
from rumphyper.units import settings
from tests.hypercalls.support import run_python
from tests.real.rump import require_rump, without_chance

PAGE = (Path(__file__).parents[2] / "docs/faults.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
KERNEL, LARGE, LINK, REPLAY = range(4)


def examples() -> list[str]:
    """The programs; the first two belong together."""
    first, second, *rest = EXAMPLES
    return [first + second, *rest]


@pytest.mark.parametrize(
    ("number", "output"),
    [
        (LARGE, r"12 1\n"),
        (LINK, r"100 \{'frames': 100, 'dropped': \d+, .*\}\n"),
        (REPLAY, r"True\n"),
    ],
)
def test_examples(number: int, output: str, tmp_path: Path) -> None:
    """Each runs as it stands and prints what it is about."""
    assert len(examples()) == 4
    done = run_python(examples()[number].replace("/tmp", str(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(output, done.stdout)


@pytest.mark.rump
def test_the_example_with_netbsd() -> None:
    require_rump()
    done = run_python(examples()[KERNEL])
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        without_chance(done.stdout) == "clock:offset=1h True\ngetrandom:seed=7 True\n"
    )


def test_faults_in_words() -> None:
    """Every one on the page can be made, and every setting is on the page."""
    found = re.findall(r"--fault ([\w.:=,%-]+)|`([a-z_]+:\w[\w.=,%-]*)`", PAGE)
    words = [first or second for first, second in found]
    words = [word.replace("seed=N", "seed=1") for word in words if "=" in word]
    assert len(words) > 10
    for word in words:
        if word.startswith("clock:") and word.endswith("="):
            continue
        try:
            parse_fault(word)
        except FaultError as error:
            pytest.fail(str(error))
    for readers in (text.READERS, clock.READERS, frames.READERS, faulty.READERS):
        for key in readers:
            assert f"{key}=" in PAGE, key


def test_bad_wires_in_words() -> None:
    found = re.findall(r"faulty:([\w.=,%]+):(?:tap|faulty|shmif)", PAGE)
    assert len(found) > 3
    for words in found:
        settings(words, faulty.READERS)


def test_the_file(tmp_path: Path) -> None:
    """The example can be read; the table has the calls and what they have."""
    (example,) = re.findall(r'^```\n(\{"format.*?)^```', PAGE, re.M | re.S)
    path = tmp_path / "example.jsonl"
    path.write_text(example)
    answers = read_recording(path)
    assert len(answers) == 2
    table = PAGE.split("| call | asked | given |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", table, re.M)
    assert [call for call, _, _ in rows] == list(CODECS)
    for answer in answers:
        _, asked, given = next(row for row in rows if row[0] == answer.call)
        assert set(re.findall(r"`(\w+)`", asked)) == set(answer.asked)
        assert set(answer.given) <= set(re.findall(r"`(\w+)`", given))
    assert json.loads(example.splitlines()[0])["version"] == 1
