"""Every command line in README and docs/ is one that the command takes."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from rumphyper.cli.main import VERBS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEADING = re.compile(r"(?:^|\s)(?:\S*/)?rumphyper$")
END = {"|", "&&", ";", "&", ">", "<", "||"}


def commands(page: Path) -> list[list[str]]:
    """The words behind ``rumphyper`` of each command line in a page's blocks."""
    found = []
    for language, block in BLOCK.findall(page.read_text()):
        if language not in ("", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            with contextlib.suppress(ValueError):  # output with an open quote
                words = shlex.split(line, comments=True)
                places = [n for n, word in enumerate(words) if LEADING.search(word)]
                if places and _is_command(words[: places[0]]):
                    rest = words[places[0] + 1 :]
                    ends = [n for n, word in enumerate(rest) if word in END]
                    found.append(rest[: ends[0]] if ends else rest)
    return [words for words in found if not any("[" in word for word in words)]


def _is_command(before: list[str]) -> bool:
    """Whether what stands before is a prompt, a wrapper or another command."""
    return not before or before[0] in (
        "$", "#", "unshare", "sudo", "setarch", "python", "python3", "ip", "timeout",
    )  # fmt: skip


def shown() -> list[tuple[str, list[str]]]:
    return [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), [pytest.param(*one, id=" ".join(one[1])) for one in shown()]
)
def test_it_is_taken(page: str, words: list[str]) -> None:
    verb, *rest = words
    assert verb in VERBS, page
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    import_module(f"rumphyper.cli.{verb}").configure(parser)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(rest)
    except SystemExit:
        pytest.fail(f"{page}: {said.getvalue()}")


def test_the_pages_show_every_verb() -> None:
    # doctor stands in the text, completion in a table.
    assert {words[0] for _, words in shown()} >= VERBS.keys() - {"doctor", "completion"}
