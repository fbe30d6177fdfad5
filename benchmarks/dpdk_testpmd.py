"""bench dpdk, testpmd: DPDK's own forwarder in its io mode, as a peer.

It wants a processor for its commands and one to forward. It is a process of its own
that is told to start and to stop; the CPU time of its thread that forwards is compared,
so that the other processes of the host matter less.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rumphyper.dpdk.arguments import Options, arguments
from rumphyper.errors import HostError, RumphyperError, UnsupportedError

from .harness import Row, interleave, skipped

BURSTS = (32, 256)
CASES = tuple(f"testpmd forward {size}" for size in BURSTS)
PROMPT = b"testpmd> "
PATIENCE = 30
TURN = 0.1
"""Seconds that each of the two forwards in a turn."""


def command() -> list[str]:
    """Its command line. UnsupportedError where it cannot run."""
    program = shutil.which("dpdk-testpmd")
    if program is None:
        remedy = "install it (Debian: apt-get install dpdk-dev)"
        raise UnsupportedError("dpdk-testpmd", "not found", remedy)
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        cause = "it needs two processors, and this process has one"
        raise UnsupportedError("dpdk-testpmd", cause, "give it two")
    words = arguments(Options(hugepages=False), f"rumphyperpeer{os.getpid()}")[1:]
    words = [word for word in words if not word.startswith("--lcores")]
    words += ["-l", ",".join(map(str, cpus)), "--vdev=net_null0", "--vdev=net_null1"]
    options = ["-i", "--forward-mode=io", "--total-num-mbufs=4096", "--no-mlockall"]
    return [program, *words, "--", *options]


class Testpmd:
    """dpdk-testpmd, waiting for commands. Two ports, one of its threads forwards."""

    def __init__(self, words: list[str]) -> None:
        self._folder = tempfile.mkdtemp(prefix="rumphyper-bench-")
        self._terminal, theirs = pty.openpty()  # or it would keep what it prints
        self._process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "RUNTIME_DIRECTORY": self._folder},
        )
        os.close(theirs)
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def _answer(self) -> str:
        """What it prints until it waits for a command."""
        seen = b""
        while not seen.endswith(PROMPT):
            ready, _, _ = select.select([self._terminal], [], [], PATIENCE)
            try:
                more = os.read(self._terminal, 65536) if ready else b""
            except OSError:  # it has ended
                more = b""
            if not more:
                lines = seen.decode(errors="replace").strip().splitlines()
                raise HostError("dpdk-testpmd", (lines or ["no word"])[-1])
            seen += more
        return seen.decode(errors="replace")

    def ask(self, text: str) -> str:
        """Give a command; return what it prints."""
        os.write(self._terminal, text.encode() + b"\n")
        return self._answer()

    def forward(self) -> float:
        """Forward for a moment; the nanoseconds of CPU time that each frame took."""
        spent = self._spent()
        self.ask("start")
        time.sleep(TURN)
        told = self.ask("stop").partition("Accumulated")[2]
        spent = self._spent() - spent
        found = re.search(r"TX-packets: (\d+)", told)
        if found is None or not int(found[1]):
            raise HostError("dpdk-testpmd", "it has forwarded nothing")
        return spent / int(found[1])

    def _spent(self) -> int:
        """Nanoseconds that its thread that forwards has run, while it does not."""
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            if "worker" in (task / "comm").read_text():
                return int((task / "schedstat").read_text().split()[0])
        raise HostError("dpdk-testpmd", "it has no thread that forwards")

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.write(self._terminal, b"quit\n")
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._terminal)
        shutil.rmtree(self._folder, ignore_errors=True)


def _as_long(forward: Callable[[], float]) -> Callable[[], float]:
    """The mean of as many calls as fill a turn, so that caches are as warm."""

    def turn() -> float:
        values, end = [], time.monotonic() + TURN
        while time.monotonic() < end:
            values.append(forward())
        return statistics.fmean(values)

    return turn


def rows(ours: Callable[[int], Callable[[], float]], runs: int) -> Iterator[Row]:
    """A row for each burst; ``ours`` makes what forwards on net_null by bursts of a
    size and tells the nanoseconds of a frame."""
    for case, size in zip(CASES, BURSTS, strict=True):
        try:
            peer = Testpmd([*command(), f"--burst={size}"])
        except RumphyperError as error:
            yield skipped("dpdk", case, str(error))
            continue
        with contextlib.closing(peer):
            yield interleave(
                "dpdk",
                case,
                "ns/frame",
                _as_long(ours(size)),
                "dpdk-testpmd",
                peer.forward,
                runs,
                more_is_better=False,
            )
