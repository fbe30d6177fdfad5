"""bench proxy: system calls of another process, beside NetBSD's own client.

A stock server (librumpuser's, in a process with nothing of rumphyper), and one
process that has two connections to it: rumphyper's, and librumpclient's through
ctypes. They make the same calls in short bursts, turn by turn: a burst is over
before the scheduler puts the two processes on other CPUs, which changes the time
of a round trip by a factor of two.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rumphyper.errors import RumphyperError, UnsupportedError

from .harness import Row, skipped, summary

PROGRAM = str(Path(__file__).with_name("proxy_task.py"))
CASES = ("call", "send 64", "recv 64")
PATIENCE = 60


def _folder() -> str:
    """The folder with the stock client; RumphyperError when there is none."""
    from rumphyper.kernel.libraries import Libraries

    for folder in Libraries().folders:
        if (Path(folder) / "librumpclient.so").exists():
            return folder
    raise UnsupportedError(
        "bench proxy", "no librumpclient.so", "set RUMPHYPER_LIBRARY_PATH"
    )


def _start(folder: str, *words: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RUMP_FOLDER": folder,
        "LD_LIBRARY_PATH": folder,
        "PYTHONPATH": os.pathsep.join([str(Path(PROGRAM).parent.parent), *sys.path]),
    }
    command = [sys.executable, PROGRAM, *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def _failed(process: subprocess.Popen[str]) -> UnsupportedError:
    process.kill()
    _, said = process.communicate()
    last = (said.strip().splitlines() or ["no word"])[-1]
    return UnsupportedError("bench proxy", last, "run its program alone")


@contextlib.contextmanager
def _serving(folder: str) -> Iterator[str]:
    """The URL of a stock server, while the body runs."""
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-") as place:
        path = f"{place}/rump"
        server = _start(folder, "serve", f"unix://{path}")
        try:
            end = time.monotonic() + PATIENCE
            while not os.path.exists(path):
                if server.poll() is not None or time.monotonic() > end:
                    raise _failed(server)
                time.sleep(0.02)
            yield f"unix://{path}"
        finally:
            server.kill()
            server.communicate()


def _measure(folder: str, url: str, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Microseconds a call of ours and of the stock client, for each turn."""
    client = _start(folder, "measure", url, str(turns))
    try:
        said, _ = client.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise _failed(client) from None
    if client.returncode:
        raise _failed(client)
    found: dict[str, list[tuple[float, float]]] = json.loads(said.splitlines()[-1])
    return found


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each case; all are skipped without the libraries."""
    try:
        folder = _folder()
        with _serving(folder) as url:
            found = _measure(folder, url, 100 if quick else 600)
    except RumphyperError as error:
        yield from (skipped("proxy", case, str(error)) for case in CASES)
        return
    for case in CASES:
        pairs = [(ours, theirs) for ours, theirs in found[case]]
        yield summary("proxy", case, "us", "librumpclient", pairs, more_is_better=False)
