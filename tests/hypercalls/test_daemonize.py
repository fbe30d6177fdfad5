"""Becoming a daemon: what the parent ends with, what the child is.

Each case is a program of its own that makes the hypercalls; the parent's status
is the program's, and the daemon leaves what it found in a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import run_python

PROGRAM = """
import ctypes, json, os, resource, signal, sys, threading, time
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.report import Reporter
reports = []
hv = Hypervisor(python_families(), reporter=Reporter(reports.append)).start()
begin = hv.function("rumpuser_daemonize_begin")
done = hv.function("rumpuser_daemonize_done")
def leave(**found):
    with open({path!r} + ".part", "w") as file:
        json.dump({{"reports": reports, **found}}, file)
    os.rename({path!r} + ".part", {path!r})
{work}
"""


class Outcome:
    """How the parent ended, and what the daemon has left."""

    def __init__(self, run: subprocess.CompletedProcess[str], path: Path) -> None:
        self.run = run
        self._path = path

    def left(self) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while not self._path.exists():
            assert time.monotonic() < deadline, self.run.stderr
            time.sleep(0.01)
        found: dict[str, Any] = json.loads(self._path.read_text())
        return found


def daemon(folder: Path, work: str) -> Outcome:
    path = folder / "left"
    return Outcome(run_python(PROGRAM.format(path=str(path), work=work)), path)


def test_a_daemon(tmp_path: Path) -> None:
    """The parent ends with 0; the child has its own session and no terminal."""
    out = daemon(
        tmp_path,
        """
parent = os.getpid()
sys.stdout.write("before ")
assert begin() == 0
assert os.getpid() != parent
print("from the child")
before = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
assert done(0) == 0
print("nobody reads this")
sys.stdout.flush()
leave(
    before=before,
    standard=[os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
    sockets=[n for n in os.listdir("/proc/self/fd")
             if os.path.exists(f"/proc/self/fd/{n}")
             and os.readlink(f"/proc/self/fd/{n}").startswith("socket")],
    leader=os.getsid(0) == os.getpid(),
    where=os.getcwd(),
    again=[begin(), done(0)],
)
""",
    )
    assert (out.run.returncode, out.run.stderr) == (0, "")
    assert out.run.stdout == "before from the child\n"
    left = out.left()
    assert left["standard"] == ["/dev/null"] * 3
    assert left["before"] != left["standard"]
    assert (left["sockets"], left["leader"]) == ([], True)
    assert left["where"] == os.getcwd()
    assert left["again"] == [Errno.EINPROGRESS, Errno.EPIPE]
    assert left["reports"] == []


def test_a_failed_boot(tmp_path: Path) -> None:
    """The errno is the parent's status; the child keeps its terminal."""
    work = "begin()\nprint(begin())\nresult = done(45)\nprint('still here', result)"
    out = daemon(tmp_path, work)
    assert out.run.returncode == 45
    assert out.run.stdout == f"{int(Errno.EINPROGRESS)}\nstill here 0\n"


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_child_that_ends_early(tmp_path: Path, end: str) -> None:
    """ESRCH tells that nobody said how it went."""
    out = daemon(tmp_path, f"begin()\n{end}")
    assert out.run.returncode == Errno.ESRCH


def test_a_parent_that_has_gone(tmp_path: Path) -> None:
    """The child is told so."""
    out = daemon(
        tmp_path,
        """
parent = os.getpid()
begin()
os.kill(parent, signal.SIGKILL)
while os.getppid() == parent:
    time.sleep(0.01)
leave(result=done(0))
""",
    )
    assert out.run.returncode == -9
    assert out.left()["result"] == Errno.EPIPE


def test_interrupted_parent(tmp_path: Path) -> None:
    """Ctrl-C ends who waits at the terminal, not the child; no traceback."""
    out = daemon(
        tmp_path,
        """
parent = os.getpid()
begin()
time.sleep(0.2)
os.kill(parent, signal.SIGINT)
while os.getppid() == parent:
    time.sleep(0.01)
leave(result=done(0))
""",
    )
    assert (out.run.returncode, out.run.stderr) == (-2, "")
    assert out.left()["result"] == Errno.EPIPE


def test_done_without_begin(tmp_path: Path) -> None:
    out = daemon(tmp_path, "print(done(0), done(5))")
    assert out.run.stdout == f"{int(Errno.ENOENT)} {int(Errno.ENOENT)}\n"


@pytest.mark.parametrize(
    ("cause", "work"),
    [
        (
            "this process has 2 threads",
            "threading.Thread(target=time.sleep, args=(1,), daemon=True).start()",
        ),
        (
            "a kernel has been booted here",
            "from tests.hypercalls.support import Kernel\nkernel = Kernel()\n"
            "kernel.boot(hv)",
        ),
    ],
)
def test_refused(tmp_path: Path, cause: str, work: str) -> None:
    """Where the child would be left with locks that nobody releases."""
    out = daemon(tmp_path, f"{work}\nprint(begin(), done(0), *reports)")
    assert out.run.returncode == 0
    assert out.run.stdout.startswith(f"{int(Errno.EINVAL)} {int(Errno.ENOENT)} ")
    assert f"becoming a daemon: {cause}" in out.run.stdout
    assert "rump_daemonize_begin first" in out.run.stdout


def test_exhaustion(tmp_path: Path) -> None:
    """No descriptor or no process: an errno, nothing half made, and once more."""
    out = daemon(
        tmp_path,
        """
from tests.seccomp import refuse_threads
fds = os.listdir("/proc/self/fd")
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (len(fds), limits[1]))
results = [begin(), done(0)]
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
refuse_threads()
results += [begin(), done(0)]
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
assert os.listdir("/proc/self/fd") == fds
print(*results)
""",
    )
    assert out.run.stderr == ""
    assert [int(word) for word in out.run.stdout.split()] == [
        *(Errno.EMFILE, Errno.ENOENT),
        *(Errno.EAGAIN, Errno.ENOENT),
    ]


@pytest.mark.rump
@pytest.mark.usefixtures("stock_path")
def test_a_real_kernel(tmp_path: Path) -> None:
    """rump_daemonize_begin, rump_init, rump_daemonize_done: NetBSD as a daemon."""
    out = daemon(
        tmp_path,
        """
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.loader import load
library = load(Libraries().plan(["net", "netinet"]))
found = [library.rump_daemonize_begin(), library.rump_init()]
found.append(library.rump_daemonize_done(0))
pid = library.rump___sysimpl_getpid()
leave(found=found, pid=pid, late=library.rump_daemonize_begin())
os._exit(0)
""",
    )
    assert (out.run.returncode, out.run.stderr) == (0, "")
    left = out.left()
    assert left["found"] == [0, 0, 0]
    assert left["pid"] == 1
    assert left["late"] == Errno.EALREADY
    assert left["reports"] == []
