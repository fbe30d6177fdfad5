"""bench netbsd: NetBSD's TCP/IP on our hypercalls beside the stock C ones.

Every measurement is a fresh process in a fresh network namespace. Both sides
load the same components and drive them by the same plain ctypes calls. Cases
with ``ncpu=`` have equal settings on both sides; in the others each has its own
defaults: ours are those of `rumphyper run`, the stock side's are NetBSD's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rumphyper.errors import RumphyperError, UnsupportedError

from .harness import Row, skipped, summary, turns

HERE = Path(__file__).resolve().parent
CASES = tuple(
    f"tcp {direction}{setting}"
    for setting in ("", " ncpu=1", " ncpu=2")
    for direction in ("receive", "send")
)
MIB, QUICK_MIB = 128, 24
ROUND_TRIPS = 2000
ENTER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
flags = 0x40000000 | (0x10000000 if os.geteuid() else 0)
ids = os.geteuid(), os.getegid()
if libc.unshare(flags):
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
if ids[0]:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"0 {ids[0]} 1")
    open("/proc/self/gid_map", "w").write(f"0 {ids[1]} 1")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A new network namespace (and user namespace, if not root), then a program."""


def stock_folder() -> str:
    """The folder of the rump kernel's libraries; RumphyperError when not found."""
    from rumphyper.kernel.libraries import Libraries

    libraries = Libraries()
    stock = libraries.rumpuser
    if stock is None:
        raise UnsupportedError(
            "bench netbsd", "no stock librumpuser", "set RUMPHYPER_LIBRARY_PATH"
        )
    return str(Path(stock).parent)


class Side:
    """One of the two: starts the processes that measure."""

    def __init__(self, script: str, folder: str) -> None:
        self.script = str(HERE / script)
        self.folder = folder

    def start(self, words: list[str], ncpu: int | None, **settings: Any) -> list[str]:
        self.environment = {
            **os.environ,
            "RUMP_FOLDER": self.folder,
            "RUMPHYPER_BENCH": json.dumps(settings),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]),
        }
        if ncpu:
            self.environment["RUMP_NCPU"] = str(ncpu)
        return [sys.executable, "-c", ENTER, self.script, *words]

    def run(self, words: list[str], ncpu: int | None, **settings: Any) -> Any:
        """One measurement: what the task printed."""
        command = self.start(words, ncpu, **settings)
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise UnsupportedError(Path(self.script).name, last, "see bench netbsd")
        return json.loads(done.stdout.strip().splitlines()[-1])

    @contextlib.contextmanager
    def serving(
        self, words: list[str], ncpu: int | None = None, **settings: Any
    ) -> Iterator[None]:
        """A second kernel that does a task until the body has run."""
        command = self.start(words, ncpu, **settings)
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                # NetBSD may print something of its own before.
                if not any(line == "ready\n" for line in server.stdout):
                    raise UnsupportedError(self.script, "did not start", "run it alone")
                yield
            finally:
                server.kill()


def run(quick: bool) -> Iterator[Row]:
    """Yield a row for each case; all are skipped without the libraries."""
    try:
        folder = stock_folder()
    except RumphyperError as error:
        names = (*CASES, "udp round trip", "superframe receive")
        yield from (skipped("netbsd", case, str(error)) for case in names)
        return
    from rumphyper.kernel.tuning import TCP_BUFFER

    stock = Side("netbsd_stock.py", folder)
    ours = Side("netbsd_ours.py", folder)
    runs = 2 if quick else 9
    mib = QUICK_MIB if quick else MIB
    best: dict[str, Any] = {"tcp_buffer": TCP_BUFFER}
    for case in CASES:
        _, direction, *setting = case.split()
        ncpu = int(setting[0].partition("=")[2]) if setting else None
        words = ["tcp", f"{direction}:{mib}"]
        yield from _tcp(case, ours, stock, words, ncpu, runs, **({} if ncpu else best))
    yield _udp(ours, stock, 2 if quick else 9)
    words = ["tcp", f"receive:{mib * 2}"]
    best["link"] = {"superframes": True}
    yield from _tcp("superframe receive", ours, stock, words, None, runs, **best)


def _tcp(
    case: str,
    ours: Side,
    stock: Side,
    words: list[str],
    ncpu: int | None,
    runs: int,
    **settings: Any,
) -> Iterator[Row]:
    """The throughput, and the process's CPU seconds for it, from the same runs."""
    peer = "stock C hypercalls"
    pairs = turns(
        lambda: ours.run(words, ncpu, **settings),
        lambda: stock.run(words, ncpu),
        runs,
        warm_up=False,  # each is a process of its own
    )
    for name, unit, key in ((case, "Mbit/s", "mbit"), (f"{case} cpu", "s/GB", "cpu")):
        values = [(float(a[key]), float(b[key])) for a, b in pairs]
        yield summary(
            "netbsd", name, unit, peer, values, more_is_better=unit == "Mbit/s"
        )


def _udp(ours: Side, stock: Side, runs: int) -> Row:
    """Two kernels of one side on one bus."""

    def measure(side: Side) -> Callable[[], float]:
        def once() -> float:
            with tempfile.TemporaryDirectory() as folder:
                bus = str(Path(folder) / "bus")
                with side.serving(["serve", bus]):
                    said = side.run(["udp", f"{ROUND_TRIPS}:{bus}"], None)
            return float(said["us"])

        return once

    return summary(
        "netbsd",
        "udp round trip",
        "us",
        "stock C hypercalls",
        turns(measure(ours), measure(stock), runs, warm_up=False),
        more_is_better=False,
    )
