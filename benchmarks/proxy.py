"""bench proxy: system calls of another process, beside NetBSD's own client.

A stock server (librumpuser's, in a process with nothing of rumphyper), and one
process that has two connections to it: rumphyper's, and librumpclient's through
ctypes. They make the same calls in short bursts, turn by turn: a burst is over
before the scheduler puts the two processes on other CPUs, which changes the time
of a round trip by a factor of two.

The ``server`` cases are the other way round: two servers, and for each a process
of librumpclient's that does bursts when it is told to.
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
        command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def _failed(process: subprocess.Popen[str]) -> UnsupportedError:
    process.kill()
    _, said = process.communicate()
    last = (said.strip().splitlines() or ["no word"])[-1]
    return UnsupportedError("bench proxy", last, "run its program alone")


@contextlib.contextmanager
def _serving(folder: str, task: str = "serve") -> Iterator[str]:
    """The URL of a server, the stock one or ours, while the body runs."""
    with tempfile.TemporaryDirectory(prefix="rumphyper-bench-") as place:
        path = f"{place}/rump"
        server = _start(folder, task, f"unix://{path}")
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


def _measure_servers(folder: str, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Microseconds a call by our server and by the stock one, for each turn."""
    found: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    with _driving(folder, "serve-ours") as ours, _driving(folder, "serve") as theirs:
        for turn in range(-5, turns):
            for case, pairs in found.items():
                sides = (theirs, ours) if turn % 2 else (ours, theirs)
                times = {side: _burst(side, case) for side in sides}
                if turn >= 0:
                    pairs.append((times[ours], times[theirs]))
    return found


@contextlib.contextmanager
def _driving(folder: str, task: str) -> Iterator[subprocess.Popen[str]]:
    """A client of a server of its own, that waits to be told what to do."""
    with _serving(folder, task) as url:
        client = _start(folder, "drive", url)
        try:
            yield client
        finally:
            client.kill()
            client.communicate()


def _burst(client: subprocess.Popen[str], case: str) -> float:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(f"{case}\n")
    client.stdin.flush()
    said = client.stdout.readline()
    if not said:
        raise _failed(client)
    return float(said)


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each case; all are skipped without the libraries."""
    names = (*CASES, *(f"server {case}" for case in CASES))
    try:
        folder = _folder()
        with _serving(folder) as url:
            found = _measure(folder, url, 100 if quick else 600)
        servers = _measure_servers(folder, 100 if quick else 600)
    except RumphyperError as error:
        yield from (skipped("proxy", case, str(error)) for case in names)
        return
    found.update({f"server {case}": pairs for case, pairs in servers.items()})
    for case in names:
        peer = "stock server" if case.startswith("server") else "librumpclient"
        pairs = [(ours, theirs) for ours, theirs in found[case]]
        yield summary("proxy", case, "us", peer, pairs, more_is_better=False)
