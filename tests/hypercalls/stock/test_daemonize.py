"""Becoming a daemon, side by side: the same program on each side."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.hypercalls.stock.sides import differences, run_side

pytestmark = pytest.mark.rump

PROGRAM = """
import json, resource, signal
def leave(*found):
    with open({path!r} + ".part", "w") as file:
        json.dump(found, file)
    os.rename({path!r} + ".part", {path!r})
begin, done = (lambda: call("daemonize_begin")), (lambda n: call("daemonize_done", n))
parent = os.getpid()
{work}
"""


def daemon(folder: Path, work: str) -> list[tuple[int, Any]]:
    """The parents' status and what the daemons have left, the stock one's first."""
    found = []
    for side in ("stock", "python"):
        path = folder / side
        program = PROGRAM.format(path=str(path), work=work)
        run = run_side(side, program, boot=False)
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline, run.stderr
            time.sleep(0.01)
        found.append((run.returncode, json.loads(path.read_text())))
    return found


@pytest.mark.parametrize("outcome", [0, 1, 45, 255, 256, -1])
def test_outcomes(tmp_path: Path, outcome: int) -> None:
    """The parent's status, the child's session and standard streams."""
    work = f"""
results = [done(5), begin(), begin(), done({outcome})]
streams = [os.readlink(f"/proc/self/fd/{{fd}}") == "/dev/null" for fd in range(1, 3)]
leave(results, streams, os.getsid(0) == os.getpid(), os.getpid() != parent,
      os.getcwd(), oct(os.umask(0o22)))
"""
    stock, ours = daemon(tmp_path, work)
    assert stock == ours
    status, (results, streams, *rest) = ours
    assert status == outcome & 0xFF
    assert results == [2, 0, 36, 0]
    assert streams == [outcome == 0] * 2
    assert rest[:2] == [True, True]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_child_that_ends_early(tmp_path: Path, end: str) -> None:
    stock, ours = daemon(tmp_path, f"begin()\nleave()\n{end}")
    assert stock == ours == (3, [])


def test_a_parent_that_has_gone(tmp_path: Path) -> None:
    assert "rumpuser_daemonize_done without parent" in differences()
    work = """
begin()
os.kill(parent, signal.SIGKILL)
while os.getppid() == parent:
    time.sleep(0.01)
leave(done(0))
"""
    assert daemon(tmp_path, work) == [(-9, [0]), (-9, [32])]


def test_threads(tmp_path: Path) -> None:
    assert "rumpuser_daemonize_begin with threads" in differences()
    work = """
threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
result = begin()
leave(result, len(os.listdir("/proc/self/task")))
if result == 0:
    done(0)
os._exit(0)
"""
    assert daemon(tmp_path, work) == [(0, [0, 1]), (0, [22, 2])]


def test_after_a_failure(tmp_path: Path) -> None:
    assert "rumpuser_daemonize_begin, after a failed one" in differences()
    work = """
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
full = len(os.listdir("/proc/self/fd")) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (full, hard))
results = [begin()]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
results.append(begin())
leave(results)
if results[1] == 0:
    done(0)
os._exit(0)
"""
    assert daemon(tmp_path, work) == [(0, [[24, 36]]), (0, [[24, 0]])]
