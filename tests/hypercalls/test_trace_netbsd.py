"""NetBSD traced: all hypercalls, whoever answers, and traces under traffic."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rumphyper.hypercalls.catalogue import CATALOGUE, members
from tests.cli.command import argv
from tests.hypercalls.support import run_python
from tests.real.netbsd_session import NAMESPACE, require_tap

ROOT = Path(__file__).parents[2]
MODES = ("native", "hybrid", "python", "libc")

ELSEWHERE = {
    # The PCI component's, which need a device.
    *(call.name for call in members("pci")),
    # Before a kernel boots: test_becoming_a_daemon.
    *("rumpuser_daemonize_begin", "rumpuser_daemonize_done"),
    # Of a system call that maps memory in a client, of which there is none left.
    "rumpuser_sp_anonmmap",
}
"""Hypercalls that NetBSD does not make in this test."""


@pytest.fixture(autouse=True)
def _libraries(stock_path: str) -> None:
    """They are needed."""


def work(job: str, mode: str, folder: Path, **environment: str) -> Any:
    """What a job of netbsd_trace.py says."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.hypercalls.netbsd_trace",
         job, mode, str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.rump
@pytest.mark.parametrize("mode", MODES)
def test_every_hypercall_is_in_a_trace(mode: str, tmp_path: Path) -> None:
    """Boot, sockets, files, block I/O, interfaces, clients, the end."""
    report = work("everything", mode, tmp_path)
    assert report["problems"] == {}
    assert report["broken"] == []
    assert report["lost"] == 0
    assert report["records"] == sum(report["counts"].values())
    assert set(report["counts"]) == set(CATALOGUE) - ELSEWHERE
    for name in ("init", "exit", "dl_bootstrap", "sp_init", "sp_fini"):
        assert report["counts"][f"rumpuser_{name}"] == 1, name
    assert {
        *("MainThread", "sender", "rumpclk0", "rsi0/3", "virtif 0", "shmif"),
    } <= set(report["threads"])
    expected = {
        "rumpuser_init": r"\(17, 0x[0-9a-f]+\) = 0 <",
        "rumpuser_open": r'\("/.*"(\.\.\.)?, RUMPUSER_OPEN_\S+, \[\d+\]\) = 0 <',
        "rumpuser_getparam": r'\("[A-Z_]+", .*\) = ',
        "rumpuser_thread_create": r'\(0x[0-9a-f]+, .*, ".*", [01], -?\d+, -?\d+, ',
        "rumpuser_bio": r"\(\d+, RUMPUSER_BIO_\w+.*, 0x[0-9a-f]+, \d+, -?\d+, 0x",
        "rumpuser_clock_sleep": r"\(RUMPUSER_CLOCK_\w+, \d+, \d+\) = 0 <",
        "rumpuser_cv_timedwait": r"\(0x[0-9a-f]+, 0x[0-9a-f]+, -?\d+, -?\d+\) = \d+",
        "rumpuser_mutex_init": r"\(0x\w+|\[0x\w+\], (0|RUMPUSER_MTX_\w+)",
        "rumpuser_dprintf": r'\("%s / %s: %lu\\n", "\w+", ".*", 0x[0-9a-f]+\) <',
        "rumpuser_kill": r"\((RUMPUSER_PID_SELF|\d+), 13\) = 0 <",
        "rumpuser_component_errtrans": r"\(\d+\) = (0|\d+ E[A-Z]+) <",
        "rumpuser_thread_exit": r"\(\) = \? <",
        "rumpuser_exit": r"\(0\) = \? <",
        "rumpuser_sp_init": r'\("unix://.*"(\.\.\.)?, "NetBSD", "\d.*", ".*"\) = 0 <',
    }
    for name, pattern in expected.items():
        assert re.search(f"{name}{pattern}", report["lines"][name]), report["lines"][
            name
        ]


@pytest.mark.rump
@pytest.mark.parametrize("ncpu", ["1", "4"])
@pytest.mark.parametrize("mode", ["native", "hybrid", "python"])
def test_set_and_cleared_under_traffic(mode: str, ncpu: str, tmp_path: Path) -> None:
    """A hundred traces of every kind while four threads talk to themselves."""
    report = work("cycles", mode, tmp_path, RUMP_NCPU=ncpu)
    assert report["problems"] == {}
    assert min(report["turns"]) >= 1
    assert len(report["seen"]) == 100
    assert min(report["seen"]) > 100
    assert report["counted"] > 50 * 100


@pytest.mark.rump
def test_sending_stays_in_c_when_its_target_changes(tmp_path: Path) -> None:
    """virt0 on a TAP binds its send to C once it is made; the trace follows."""
    require_tap()
    script, text = tmp_path / "script.py", tmp_path / "text"
    script.write_text(
        "sends = lambda: kernel.hypervisor.bindings['rumpcomp_virt_send'].target\n"
        "before = sends()\n"
        "virt0 = kernel.create_interface('virt0', 'tap:tap0')\n"
        "virt0.add_address('10.0.0.2/24'); virt0.up()\n"
        "with kernel.socket(type=2) as one:\n"
        "    one.setsockopt(1, 6, 1)\n"  # SOL_SOCKET, SO_BROADCAST
        "    one.sendto(b'x', ('10.0.0.255', 9))\n"
        "there = [one.split() for one in open('/proc/net/dev') if 'tap0' in one]\n"
        "print(type(before).__name__, type(sends()).__name__, there[0][2])\n"
    )
    words = ("trace", "-e", "family=virtif", "-o", str(text), str(script))
    done = subprocess.run(
        [*NAMESPACE, *argv(*words)], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    before, after, sent = done.stdout.split()
    assert (before, after) == ("method", "int")
    lines = [line for line in text.read_text().splitlines() if "virt_send(" in line]
    assert len(lines) == int(sent) >= 1
    # As a thunk has it: addresses, where Python would show the parts.
    assert all(re.search(r"virt_send\(0x\w+, 0x\w+, \d+\) <", line) for line in lines)


def test_becoming_a_daemon(tmp_path: Path) -> None:
    """The child goes on with the trace; no thread of it is in the way."""
    done = run_python(
        "from tests.hypercalls.support import Setup\n"
        "from rumphyper.hypercalls.hypervisor import Hypervisor\n"
        "from rumphyper.hypercalls.python import python_families\n"
        "from rumphyper.hypercalls.trace import Trace\n"
        "trace = Trace()\n"
        "with Hypervisor(python_families(), trace=trace) as hypervisor:\n"
        "    assert hypervisor.calls.rumpuser_daemonize_begin() == 0\n"
        "    hypervisor.calls.rumpuser_curlwp()\n"
        f"    report = open({str(tmp_path / 'report')!r}, 'w')\n"
        "    assert hypervisor.calls.rumpuser_daemonize_done(0) == 0\n"
        "names = [record.name for record in trace.records]\n"
        "print(*names, len({r.thread for r in trace.records}), file=report)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    deadline = 200
    while not (text := (tmp_path / "report").read_text()) and deadline:
        deadline -= 1
        subprocess.run(["sleep", "0.1"], check=True)
    assert text.split() == [
        *("rumpuser_daemonize_begin", "rumpuser_curlwp", "rumpuser_daemonize_done"),
        "1",
    ]
