"""What all verbs share: standard output that is full or closed, errors on a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rumphyper.link import open_link
from tests.cli.command import ROOT, TIMEOUT, argv, fails

REPORTS = [
    ("doctor", "--json"),
    ("hypercalls", "--json"),
    ("demo", "--count", "1"),
    ("dump", "--no-follow", "{bus}"),
    ("dump", "--no-follow", "--json", "{bus}"),
    ("ping", "-c", "1", "-W", "0.01", "shmif:{bus}", "10.0.0.1"),
    ("echo", "--duration", "0.01", "shmif:{bus}"),
]


@pytest.fixture
def bus(tmp_path: Path) -> Path:
    """A bus with one frame on it."""
    with open_link(f"shmif:{tmp_path}/bus") as link:
        link.send([bytes(60)])
    return tmp_path / "bus"


@pytest.mark.parametrize("words", REPORTS, ids=" ".join)
def test_standard_output_is_full(words: tuple[str, ...], bus: Path) -> None:
    """One line that says so, and exit status 2."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            argv(*(word.format(bus=bus) for word in words)),
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT,
            check=False,
        )  # fmt: skip
    [line] = done.stderr.splitlines()
    assert "standard output: No space left on device" in line
    assert done.returncode == 2


def test_standard_output_is_closed(bus: Path) -> None:
    """The bus does not become the standard output, and frames not its text."""
    before = bus.read_bytes()
    for words in (("dump", "--no-follow"), ("dump", "--no-follow", "-w", "-")):
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *argv(*words, bus)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        [line] = done.stderr.splitlines()
        assert "Bad file descriptor" in line
        assert done.returncode == 2
    assert bus.read_bytes() == before


def test_all_standard_streams_are_closed(bus: Path) -> None:
    """There is nobody to tell, but the exit status does."""
    command = [sys.executable, "-m", "rumphyper", "dump", "--no-follow", str(bus)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
        cwd=ROOT, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 2


def test_no_room_for_the_bus_of_the_demo(tmp_path: Path) -> None:
    """It is said as for any bus; no kernel has to ask in vain first."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 512; exec "$@"', "sh", *argv("demo", "--json")],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    [line] = done.stderr.splitlines()
    assert "/bus: File too large" in line
    assert (done.returncode, done.stdout) == (2, "")
    assert not list(tmp_path.iterdir())


def test_a_line_is_a_line_whatever_the_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"two\nlines\xff")
    assert "No such file" in fails("dump", f"shmif:{tmp_path}/{name}")
