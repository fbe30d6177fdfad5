"""docs/hypercalls.md: its table is the catalogue's, its examples run.

Run as a program it writes the table anew:
``python -m tests.hypercalls.test_docs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.hypercalls.catalogue import FAMILIES, members
from rumphyper.hypercalls.describe import python_provider
from tests.hypercalls.support import run_python

PAGE = Path(__file__).parents[2] / "docs/hypercalls.md"
START, END = "<!-- table: ", "<!-- end of table -->"


def table() -> Iterator[str]:
    """The table's lines, from the catalogue."""
    yield "| hypercall | what it does | Python | waits |"
    yield "| --- | --- | --- | --- |"
    for family, purpose in FAMILIES.items():
        yield f"| **{family}** | {purpose} | | |"
        for call in members(family):
            python = "yes" if python_provider(call) else "no"
            waits = "yes" if call.blocks else ""
            yield f"| `{call.name}` | {call.summary} | {python} | {waits} |"


def parts() -> tuple[str, str, str]:
    """The page before, in and behind its table."""
    text = PAGE.read_text()
    start = text.index("\n", text.index(START)) + 1
    end = text.index(END)
    return text[:start], text[start:end], text[end:]


def test_table() -> None:
    """Every hypercall, with the catalogue's words."""
    assert parts()[1].splitlines() == list(table())


def examples() -> list[str]:
    """The Python sources on the page."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.mark.parametrize("number", range(len(examples())))
def test_examples(number: int) -> None:
    """Each runs as it stands and prints what it is about."""
    done = run_python(examples()[number])
    assert (done.returncode, done.stderr) == (0, "")
    expected = (r"0x[0-9a-f]+\n", r"wall clock \d+\nrandom [0-9a-f]{8}\n",
                r".*rumpuser_clock_sleep\(RUMPUSER_CLOCK_RELWALL, 0, 1000000\) = 0"
                r" <.*>\n\{'rumpuser_clock_sleep': 1\}\n")  # fmt: skip
    assert re.fullmatch(expected[number], done.stdout)


def test_the_override_is_deterministic() -> None:
    """Two runs of the example give the same octets."""
    outputs = {run_python(examples()[1]).stdout.splitlines()[1] for _ in range(2)}
    assert len(outputs) == 1


if __name__ == "__main__":
    before, _, behind = parts()
    PAGE.write_text(before + "".join(f"{line}\n" for line in table()) + behind)
