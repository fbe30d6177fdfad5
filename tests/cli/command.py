"""Runs the ``rumphyper`` command as users do: in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tests.real.rump import without_chance

ROOT = Path(__file__).parents[2]
TIMEOUT = 30


def argv(*words: str | Path) -> list[str]:
    """Return the command line that runs the command from the source tree."""
    return [sys.executable, "-m", "rumphyper", *map(str, words)]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; it never prints a stack trace.

    What its kernel says by chance is left out.
    """
    done = subprocess.run(
        argv(*words), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    done.stdout, done.stderr = without_chance(done.stdout), without_chance(done.stderr)
    return done


def fails(*words: str | Path) -> str:
    """Run a command that cannot be done; return its one line of error."""
    done = run(*words)
    assert done.returncode == 2, done
    assert done.stdout == "", done
    [line] = done.stderr.splitlines()
    return line


@contextlib.contextmanager
def started(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start the command; it is killed if it is still there at the end."""
    process = subprocess.Popen(
        argv(*words), cwd=ROOT, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def line(stream: IO[str] | None) -> str:
    """Return the next line of a started command's output."""
    assert stream is not None
    while (text := stream.readline()) and not without_chance(text):
        pass
    assert text.endswith("\n"), "the command has ended"
    return text.rstrip("\n")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Return exit status and the rest of standard output and error."""
    out, err = process.communicate(timeout=TIMEOUT)
    assert "Traceback" not in err
    return process.returncode, without_chance(out), without_chance(err)
