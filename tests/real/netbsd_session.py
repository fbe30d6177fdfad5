"""Runs a case of netbsd_cases or of another module in a process of its own.

    python -m tests.real.netbsd_session CASE [ARGUMENT...]

The process has a network namespace of its own, too. A process can boot one
kernel. What the case returns is printed as one line of
JSON, the last of the output.
"""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.judges import tool

ROOT = Path(__file__).parents[2]
PATIENCE = int(os.environ.get("RUMPHYPER_TEST_PATIENCE", "60"))
"""Seconds for one case; more for a long run by hand."""


NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")
WITHOUT_RIGHTS = (*NAMESPACE, "setpriv", "--bounding-set=-net_admin")


def require_tap() -> None:
    """Skip the test, saying why, where there can be no TAP."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("/dev/net/tun does not exist (modprobe tun)")


def start(
    case: str, *arguments: str, inside: Sequence[str] = NAMESPACE
) -> subprocess.Popen[str]:
    """Start a case ``inside`` of what a command runs its arguments in."""
    command = [sys.executable, "-m", "tests.real.netbsd_session", case, *arguments]
    for word in inside:
        if not word.startswith("-"):
            tool(word)
    command = [*inside, *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def finish(process: subprocess.Popen[str]) -> Any:
    """What a case returned; its failure fails the test."""
    try:
        out, err = process.communicate(timeout=PATIENCE + 10)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the case hangs\n{out}\n{err}")
    if process.returncode:
        pytest.fail(f"exit status {process.returncode}\n{out}\n{err}")
    return json.loads(out.splitlines()[-1])


def run(case: str, *arguments: str, inside: Sequence[str] = NAMESPACE) -> Any:
    """Run a case to its end and return what it returned."""
    return finish(start(case, *arguments, inside=inside))


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    from tests.real import netbsd_cases, stress_cases, traffic_cases

    name, *arguments = sys.argv[1:]
    cases: dict[str, Callable[..., Any]] = {
        **vars(traffic_cases),
        **vars(stress_cases),
        **netbsd_cases.CASES,
    }
    result = cases[name](*arguments)
    print()
    print(json.dumps(result), flush=True)
