"""Starts kernels that serve, and clients of NetBSD's own library."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from rumphyper.kernel.libraries import Libraries
from tests.real.rump import require_rump
from tests.real.serving.raw import Raw

ROOT = Path(__file__).parents[3]
PATIENCE = 30


def library(name: str) -> Path:
    """A library of clients, beside the kernel's; skips the test without it."""
    require_rump()
    for folder in Libraries().folders:
        path = Path(folder) / name
        if path.exists():
            return path
    pytest.skip(f"no {name} beside librump")


@attrs.define(eq=False)
class Served:
    """A kernel that serves, and its process."""

    url: str
    process: subprocess.Popen[str]

    @property
    def path(self) -> str:
        return self.url.removeprefix("unix://")

    def ask(self, what: str) -> Any:
        """What a function of program.py says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the kernel's process ended: {self.process.wait(PATIENCE)}"
        return json.loads(line)

    def settled(self, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """The state, once it is ``wanted`` or does not change any more."""
        end = time.monotonic() + PATIENCE
        before: dict[str, Any] = {}
        while time.monotonic() < end:
            now: dict[str, Any] = self.ask("state")
            if now == before if wanted is None else wanted.items() <= now.items():
                return now
            before = now
            time.sleep(0.1)
        return before

    def end(self) -> dict[str, Any]:
        """Close the kernel; what is left then, and the error output."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        said: dict[str, Any] = json.loads(out)
        return said


@contextlib.contextmanager
def serving(
    mode: str = "hybrid", scheme: str = "unix", **limits: Any
) -> Iterator[Served]:
    """A kernel that serves; killed at the end if it is still there."""
    require_rump()
    with tempfile.TemporaryDirectory() as folder:
        # The stock server would not tell which port 0 has become.
        port = 0 if mode != "native" else free_port()
        url = f"unix://{folder}/rump" if scheme == "unix" else f"tcp://127.0.0.1:{port}"
        command = ["-m", "tests.real.serving.program", mode, url, json.dumps(limits)]
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "no server came up"
            yield Served(json.loads(line), process)
        finally:
            process.kill()
            process.communicate()


def hostile_kernel() -> Iterator[Served]:
    """For a fixture: a kernel of little patience."""
    with serving(patience=1.0, greeting=0.5, orphanage=0.2, calls=8) as kernel:
        yield kernel


def witnessed(served: Served) -> Iterator[None]:
    """For a fixture: a client that was there before, and the kernel, go on working."""
    with Raw(served.url) as witness:
        assert witness.works()
        yield
        assert witness.works()
        assert served.ask("works")


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_client(url: str, job: str, *words: str) -> subprocess.Popen[str]:
    """A client of librumpclient that does a job of stockclient.py."""
    path = library("librumpclient.so.0")
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.real.serving.stockclient",
            str(path),
            job,
            *words,
        ],
        cwd=ROOT,
        env={**os.environ, "RUMP_SERVER": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(client: subprocess.Popen[str]) -> Any:
    """What the client's job returned; its failure fails the test."""
    try:
        out, err = client.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        client.kill()
        out, err = client.communicate()
        pytest.fail(f"the client hangs\n{out}\n{err}")
    if client.returncode:
        pytest.fail(f"exit status {client.returncode}\n{out}\n{err}")
    return json.loads(out.splitlines()[-1])


def run_client(url: str, job: str, *words: str) -> Any:
    """Run a client to its end."""
    return finish(start_client(url, job, *words))
