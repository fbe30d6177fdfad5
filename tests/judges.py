"""Programs that judge what this package writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

EXPERT = ("_ws.expert.message", "_ws.malformed.expert")


def tool(name: str) -> str:
    """Return the path of a program; without it the test is skipped.

    In CI, which installs them all, it fails instead.
    """
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and CI installs it")
        pytest.skip(f"{name} is not installed")
    return found


def tshark(
    path: Path | str, fields: Sequence[str], data: bytes | None = None
) -> list[list[str]]:
    """Return the ``fields`` of each frame as tshark reads them from ``path``.

    Every checksum is verified; what tshark reports as odd or malformed in a
    frame fails the test. ``path`` may be ``-`` with the file's octets in
    ``data``.
    """
    command = [tool("tshark"), "-n", "-r", str(path), "-T", "fields"]
    command += ["-E", "separator=|"]
    if data is None:
        command.append("-2")  # a second pass: requests learn of their replies
    for field in (*fields, *EXPERT):
        command += ["-e", field]
    for check in ("ip", "udp", "tcp"):
        command += ["-o", f"{check}.check_checksum:TRUE"]
    run = subprocess.run(
        command, input=data, capture_output=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr.decode()
    lines = [line.split("|") for line in run.stdout.decode().splitlines()]
    assert [line for line in lines if any(line[len(fields) :])] == []
    return [line[: len(fields)] for line in lines]
