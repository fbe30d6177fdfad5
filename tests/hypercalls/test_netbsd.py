"""The real judge: NetBSD boots and works on Python's hypercalls (see netbsd.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hypercalls.netbsd_disks import make_images
from tests.real.file_checks.kit import command

pytestmark = [pytest.mark.rump, pytest.mark.usefixtures("stock_path")]


def start(
    *words: str, module: str = "tests.hypercalls.netbsd", **environment: str
) -> subprocess.Popen[str]:
    """Start a kernel in a process of its own."""
    path = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", module, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Any:
    """Its JSON object, the last line; fails when it ends otherwise.

    The kernel may have something to say first: of one boot in ten thousand
    NetBSD thinks that its random numbers look odd.
    """
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert (process.returncode, err) == (0, "")
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("ncpu", ["1", "2", "4"])
@pytest.mark.parametrize("mode", ["python", "stock"])
def test_stress(mode: str, ncpu: str) -> None:
    """TCP, UDP and pipes from many threads at once, every octet checked.

    With the stock library in the slots it is the same, so that a failure with
    Python's families is theirs.
    """
    report = finish(start("stress", mode, RUMP_NCPU=ncpu))
    assert report["problems"] == {}


def test_traced() -> None:
    """Every call of a boot is recorded and shown; threads have their names."""
    report = finish(start("traced"))
    assert report["problems"] == {}
    assert report["broken"] == []
    counts = report["counts"]
    assert counts["rumpuser_init"] == 1
    assert counts["rumpuser_mutex_enter"] > 1000
    assert sum(counts.values()) > 8000
    assert {"MainThread", "rumpclk0", "pdaemon"} <= set(report["threads"])


def test_virt() -> None:
    """Frames of NetBSD's virt(4) reach a link and back, and it goes away clean."""
    report = finish(start("virt"))
    assert report == {"answers": 50, "closed": True, "left": [], "problems": {}}


def test_two_kernels_on_one_bus(tmp_path: Path) -> None:
    """NetBSD's own shmif driver over Python's shmif and file hypercalls."""
    bus = str(tmp_path / "bus")
    server = start("bus", bus, "server")
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    reports = [finish(start("bus", bus, "client")), finish(server)]
    for report in reports:
        assert report["rounds"] == 40
        assert report["problems"] == {}
        assert report["counts"]["rumpcomp_shmif_mmap"] == 1
        assert report["counts"]["rumpcomp_shmif_watchwait"] >= 40


@pytest.mark.parametrize(
    ("mode", "threads"),
    [("native", "1"), ("native", "0"), ("python", "1"), ("python", "0"),
     ("python", "none")],
)  # fmt: skip
def test_disks(mode: str, threads: str, tmp_path: Path) -> None:
    """Two file systems at once over block I/O, with and without its threads.

    What NetBSD wrote is there after mounting again, and e2fsck has no objection.
    """
    make_images(tmp_path)
    words = (mode, str(tmp_path), threads)
    report = finish(start(*words, module="tests.hypercalls.netbsd_disks"))
    workers = report.pop("workers")
    assert bool(workers) == (mode == "python" and threads == "1")
    assert report.pop("transfers") > 100
    problems = report.pop("problems")
    if threads == "none":
        (said,) = problems
        assert "can't start new thread: transfers wait for each other" in said
    else:
        assert problems == {}
    assert report == {"files": 12, "same": 12}
    command("e2fsck", "-f", "-n", tmp_path / "ext2fs")
