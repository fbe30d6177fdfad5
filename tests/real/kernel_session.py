"""Runs scenarios and checks in one rump kernel and prints what came of them.

    python -m tests.real.kernel_session scenarios|checks MODULE [URL]

The kernel is booted in the process, or is that of the server at URL. A process
can boot one kernel, so the tests run this as a program and read one JSON object
per line: the name, and the outcome or the traceback.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

import rumphyper
from tests.real.proxy_kit import add_loopback
from tests.real.rump import boot

ROOT = Path(__file__).parents[2]
PATIENCE = 120
CLOSER = "closes_the_kernel"
"""The last check, after which nothing can be asked any more."""


class KernelNet:
    """The kernel's side of the scenarios."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        for name in ("socket", "socketpair", "create_connection", "create_server"):
            setattr(self, name, getattr(kernel, name))
        self.select = kernel.select
        self.poll = kernel.poll
        self.fs = kernel.fs
        self.open = kernel.open

    def path(self, name: str) -> str:
        return f"/sockets/{name}"

    def unlink(self, path: str) -> None:
        self.kernel.fs.unlink(path)

    def adopt(self, fd: int) -> Any:
        return self.kernel.socket(fileno=fd)


def descriptors(kernel: Any) -> list[int]:
    """The kernel descriptors that are open."""
    get_flags = 3
    return [fd for fd in range(256) if kernel.calls.fcntl(fd, get_flags, 0) >= 0]


def report(name: str, **found: Any) -> None:
    print(json.dumps({"name": name, **found}, default=repr), flush=True)


def begin(components: Any, url: str) -> Any:
    """A kernel whose loopback works."""
    if url:
        kernel = rumphyper.connect(url)
        add_loopback(kernel)
        return kernel
    booted = boot(components)
    booted.interface("lo0").add_address("127.0.0.1/8")
    return booted


def run(kind: str, module: str, url: str = "") -> None:
    faulthandler.dump_traceback_later(PATIENCE - 10, exit=True)
    table = importlib.import_module(module)
    kernel = begin(getattr(table, "COMPONENTS", None), url)
    kernel.fs.makedirs("/sockets", exist_ok=True)
    kernel.fs.mount("tmpfs", "/sockets")
    given = KernelNet(kernel) if kind == "scenarios" else kernel
    before: list[int] = []
    for name, function in getattr(table, kind.upper()).items():
        before = before or descriptors(kernel)
        if name == CLOSER:
            report_descriptors(kernel, before)
        start = time.monotonic()
        try:
            result = function(given)
        except pytest.skip.Exception as reason:
            report(name, skip=str(reason))
        except BaseException:
            report(name, error=traceback.format_exc())
        else:
            seconds = round(time.monotonic() - start, 3)
            report(name, result=result, seconds=seconds)
    if not kernel.closed:
        report_descriptors(kernel, before)
        kernel.close()
    report("the end", result=None)


def report_descriptors(kernel: Any, before: list[int]) -> None:
    left = sorted(set(descriptors(kernel)) - set(before))
    report("descriptors left open", result=left)


def session(kind: str, module: str, url: str = "") -> dict[str, dict[str, Any]]:
    """Run the program and return its lines by name."""
    command = [sys.executable, "-m", "tests.real.kernel_session", kind, module]
    command += [url] if url else []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            out, err = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)
            out, err = child.communicate()
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    found = {line["name"]: line for line in lines}
    found["exit"] = {"status": child.returncode, "stderr": err}
    return found


def outcome_of(found: dict[str, dict[str, Any]], name: str) -> Any:
    """The outcome of one; fails with the traceback, or when it was not reached."""
    if name not in found:
        pytest.fail(f"the session ended before {name}: {found['exit']['stderr']}")
    line = found[name]
    if "skip" in line:
        pytest.skip(line["skip"])
    if "error" in line:
        pytest.fail(line["error"])
    return line["result"]


if __name__ == "__main__":
    run(*sys.argv[1:])
