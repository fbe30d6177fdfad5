"""The repository itself: what is in it, and that its pages tell the truth."""

from __future__ import annotations

import re
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

from rumphyper.cli.main import VERBS

ROOT = Path(__file__).parents[1]
NAME = set(string.ascii_letters + string.digits + "._-/")


def tracked() -> list[str]:
    """The names of all files under version control."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    try:
        listed = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True,
            errors="surrogateescape",
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git, or not a git work tree: an unpacked archive")
    return [name for name in listed.stdout.split("\0") if name]


def test_no_test_has_left_a_file_that_was_committed() -> None:
    """A fuzz that opens files by any name once did."""
    known = {"rumphyper", "stubs", "tests", "benchmarks", "docs", "examples"}
    known |= {".ci", ".github"}
    for name in tracked():
        assert set(name) <= NAME, name
        top, slash, _ = name.partition("/")
        assert top in known if slash else top.count(".") or top == "LICENSE", name


def test_the_readme_names_verbs_that_are_there() -> None:
    text = (ROOT / "README.md").read_text()
    verbs = re.findall(r"^rumphyper (\w+)", text, re.MULTILINE)
    assert len(verbs) > 4
    assert set(verbs) <= set(VERBS)


def test_speed_fails_no_test_here() -> None:
    """Hypothesis would fail an example of more than 0.2 s on a busy machine."""
    assert settings().deadline is None


def test_links_between_pages_lead_somewhere() -> None:
    """From every page, to files beside it."""
    pages = [ROOT / name for name in tracked() if name.endswith(".md")]
    assert len(pages) > 3
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
