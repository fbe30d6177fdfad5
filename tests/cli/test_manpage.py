"""The manual page: what is kept is what the command line says, and groff takes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from rumphyper.cli.main import VERBS, build_parser
from rumphyper.cli.manpage import page
from rumphyper.cli.tree import read
from tests.cli.command import run
from tests.judges import tool

PAGE = Path(__file__).parents[2] / "docs" / "rumphyper.1"


def rendered() -> str:
    """The page as man(1) shows it, on one long line a paragraph."""
    done = subprocess.run(
        [tool("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=1000n", str(PAGE)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.replace("\N{MINUS SIGN}", "-")


def test_the_kept_page_is_what_the_command_line_says() -> None:
    made = page(read(build_parser(VERBS)))
    again = "make it again: python3 -m rumphyper.cli.manpage > docs/rumphyper.1"
    assert PAGE.read_text() == made, again


def test_man_shows_every_option_of_the_help() -> None:
    """The help itself, of processes of their own, says what there is."""
    verbs = rendered().partition("\nVERBS\n")[2].partition("\nEXIT STATUS\n")[0]
    sections: dict[str, str] = {}
    for verb, text in re.findall(
        r"^   rumphyper (\w+)(.*?)(?=^   rumphyper|\Z)", verbs, re.DOTALL | re.MULTILINE
    ):
        sections[verb] = sections.get(verb, "") + text
    assert list(sections) == list(VERBS)
    for verb in VERBS:
        said = run(verb, "--help").stdout
        flags = set(re.findall(r"^  (--?[\w-]+)", said, re.MULTILINE)) - {"-h"}
        for flag in flags - {"--help"}:
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", sections[verb]), flag


def test_an_argument_is_shown_with_its_help_and_choices() -> None:
    text = rendered()
    assert re.search(r"--format pcap\|pcapng\n +Of the file written \(default", text)
    assert re.search(r"^ +rumphyper gen \[OPTION\]\.\.\. tx\|rx\|ping\|pong LINKSTR$",
                     text, re.MULTILINE)  # fmt: skip
