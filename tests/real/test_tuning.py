"""The settings of a real kernel, and the defaults of `rumphyper run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .rump import require_rump, without_chance

pytestmark = pytest.mark.rump


@pytest.fixture(autouse=True)
def libraries() -> None:
    require_rump()


SCRIPT = """
import socket
from rumphyper.kernel.tuning import get_setting
with kernel.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
    print(made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    print(get_setting(kernel, "net.inet.tcp.sendspace"))
"""


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "-m", "rumphyper", "run", *words, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_run_gives_large_buffers_unless_told(tmp_path: Path) -> None:
    assert without_chance(run(tmp_path).stdout).split() == ["196608", "196608"]
    smaller = run(tmp_path, "--tcp-buffer", "40000").stdout
    assert without_chance(smaller).split() == ["40000"] * 2


@pytest.mark.parametrize("size", ["1", "209716", "9999999999"])
def test_sizes_that_no_socket_can_have(tmp_path: Path, size: str) -> None:
    done = run(tmp_path, "--tcp-buffer", size)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "between 2048 and 209715" in done.stderr
