"""``rumphyper demo`` from outside: a program that is run."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.mini.abi import HYPERCALLS
from tests.judges import tshark
from tests.real.rump import require_rump

# What a boot, some pings and a shutdown have no reason to call.
ON_ERRORS = {"rumpuser_seterrno"}
ON_CONTENTION = {
    "rumpuser_mutex_enter",
    "rumpuser_rw_enter",
    "rumpuser_cv_wait_nowrap",  # a thread finds the virtual CPU taken
}


def start(
    *arguments: str, folder: Path, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """A demo whose temporary folder is in ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-m", "rumphyper", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Also where NetBSD's libraries are: it is the mini kernel that is meant.
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "RUMPHYPER_LIBRARY_PATH": str(folder),
            **(env or {}),
        },
    )


def demo(*arguments: str, folder: Path, status: int = 0) -> tuple[str, str]:
    """Run a demo to its end; what it printed on both streams."""
    process = start(*arguments, folder=folder)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    return output, errors


def left(folder: Path) -> Sequence[str]:
    """What demos have left behind in their temporary folder."""
    return [path.name for path in folder.glob("rumphyper-demo-*")]


def test_json(tmp_path: Path) -> None:
    output, errors = demo("--json", folder=tmp_path)
    (line,) = output.splitlines()
    answer = json.loads(line)
    assert answer["kernel"] == "mini"
    assert answer["sent"] == answer["received"] == 8
    assert [ping["target"] for ping in answer["pings"]] == ["10.0.0.2", "fd00::2"]
    for ping in answer["pings"]:
        assert ping["sent"] == ping["received"] == 4
        assert 0 < ping["min_ms"] <= ping["avg_ms"] <= ping["max_ms"] < 1000
    assert 0 < answer["rtt_ms"]["min"] <= answer["rtt_ms"]["max"]
    assert 0.6 <= answer["seconds"] < 10
    counts = answer["hypercalls"]
    assert set(HYPERCALLS) - set(counts) <= ON_ERRORS | ON_CONTENTION
    assert counts["rumpuser_init"] == 1
    assert counts["rumpuser_malloc"] == counts["rumpuser_free"]
    # ARP, ND and each ping are answered by one frame
    assert counts["rumpcomp_virt_send"] == 8 + 2
    assert sum(answer["families"].values()) == sum(counts.values())
    assert errors == ""
    assert left(tmp_path) == []


def test_text(tmp_path: Path) -> None:
    output, errors = demo("--kernel", "mini", "--count", "2", folder=tmp_path)
    for pattern in (
        r"\| mini \S+",
        r"\| virt0: Ethernet address b2:a0(:[0-9a-f]{2}){4}",
        r"64 bytes from 10\.0\.0\.2: icmp_seq=2 ttl=\d+ time=\d+\.\d{3} ms",
        r"64 bytes from fd00::2: icmp_seq=2 ttl=\d+ time=\d+\.\d{3} ms",
        r"^10\.0\.0\.2: 2 pings, 2 answers, min/avg/max/mdev [\d./]+ ms$",
        r"^fd00::2: 2 pings, 2 answers",
        r"^\d+ hypercalls of \d+ kinds in \d+\.\d\d s:$",
        r"^ +\d+  locks ",
        r"rumphyper demo --trace",
    ):
        assert re.search(pattern, output, re.MULTILINE), pattern
    assert errors == ""
    assert left(tmp_path) == []


def test_without_thunks(tmp_path: Path) -> None:
    """What an architecture without machine-code templates sees: the same."""
    process = start("--json", folder=tmp_path, env={"RUMPHYPER_THUNKS": "0"})
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    answer = json.loads(output)
    assert answer["sent"] == answer["received"] == 8
    assert answer["hypercalls"]["rumpcomp_virt_send"] == 8 + 2


def test_trace_shows_each_hypercall(tmp_path: Path) -> None:
    output, errors = demo("--json", "--trace", "--count", "1", folder=tmp_path)
    counts = json.loads(output)["hypercalls"]
    seen: dict[str, int] = {}
    form = re.compile(r" *\d+\.\d{6} \[\d+ [^\]]*\] (\w+)\((.*)\)( = .+)? <\d+\.\d{6}>")
    examples: dict[str, tuple[str, str]] = {}
    for line in errors.splitlines():
        match = form.fullmatch(line)
        assert match, line
        name = match[1]
        seen[name] = seen.get(name, 0) + 1
        examples.setdefault(name, (match[2], match[3] or ""))
    assert seen == counts
    assert examples["rumpuser_init"][0].startswith("17, 0x")
    assert examples["rumpuser_init"][1] == " = 0"
    assert re.match(r"\d+, 64, .*0x[0-9a-f]+", examples["rumpuser_malloc"][0])
    assert "RUMPUSER_CLOCK_ABSMONO" in examples["rumpuser_clock_gettime"][0]
    assert '"_RUMPUSER_NCPU"' in examples["rumpuser_getparam"][0]
    assert "shmif:" in examples["rumpcomp_virt_create"][0]
    assert 'rumpuser_dprintf("%s: address %s\\n", "virt0", "10.0.0.2/24")' in errors
    assert re.match(r" = 0x[0-9a-f]+| = NULL", examples["rumpuser_curlwp"][1])


def test_tshark_reads_the_capture(tmp_path: Path) -> None:
    for name in ("demo.pcap", "demo.pcapng"):
        capture = tmp_path / name
        output, _ = demo(
            "--json", "--count", "3", "--pcap", str(capture), folder=tmp_path
        )
        answer = json.loads(output)
        assert answer["pcap"] == str(capture)
        assert answer["missed"] == 0
        fields = ("frame.time_epoch", "arp.opcode", "icmp.type", "icmpv6.type")
        frames = tshark(capture, fields)
        assert len(frames) == answer["frames"] == 2 * (1 + 3) * 2
        assert [frame[1] for frame in frames if frame[1]] == ["1", "2"]
        # On a busy host an answer may come after the next question.
        assert sorted(frame[2] for frame in frames if frame[2]) == [*"000888"]
        assert [frame[3] for frame in frames if frame[3]] == [
            "135", "136", *["128", "129"] * 3,
        ]  # fmt: skip
        times = [float(frame[0]) for frame in frames]
        assert times == sorted(times)
        assert abs(times[-1] - time.time()) < 60


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--pcap", "/nowhere/x.pcap"), "/nowhere/x.pcap"),
        (("--pcap", "/"), "/"),
        (("--pcap", "/dev/full"), "/dev/full"),
        (("--count", "0"), "less than 1"),
        (("--count", "x"), "--count"),
        (("--kernel", "plan9"), "plan9"),
    ],
)
def test_bad_input(arguments: tuple[str, ...], text: str, tmp_path: Path) -> None:
    _, errors = demo(*arguments, folder=tmp_path, status=2)
    assert text in errors
    assert left(tmp_path) == []


def interrupted(process: subprocess.Popen[str], after: float, number: int) -> Any:
    """Wait for the first line, then ``after`` seconds, then send the signal."""
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first
    time.sleep(after)
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors, errors
    assert errors == ""
    return first + output


@pytest.mark.parametrize("moment", range(8))
def test_ctrl_c_ends_with_the_summary(moment: int, tmp_path: Path) -> None:
    after = random.uniform(0, 0.5) if moment else 0.0
    process = start("--count", "100000", folder=tmp_path)
    output = interrupted(process, after, signal.SIGINT)
    assert "Interrupted." in output, f"after {after} s"
    assert re.search(r"^\d+ hypercalls of \d+ kinds", output, re.MULTILINE)
    pings = re.findall(r"^\S+: (\d+) pings, (\d+) answers", output, re.MULTILINE)
    for sent, received in pings:
        assert sent == received, f"after {after} s"
    total = sum(int(sent) for sent, _ in pings)
    assert process.returncode == (0 if total else 1), f"after {after} s"
    assert left(tmp_path) == []


def test_sigterm_ends_with_the_summary(tmp_path: Path) -> None:
    process = start("--count", "100000", "--interval", "0", folder=tmp_path)
    output = interrupted(process, 0.5, signal.SIGTERM)
    assert "Interrupted." in output
    assert left(tmp_path) == []


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    process = start("--trace", folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(30) == 0
    assert "Traceback" not in errors
    assert left(tmp_path) == []


@pytest.mark.rump
def test_netbsd_is_what_auto_means_where_it_is(tmp_path: Path) -> None:
    require_rump()
    folder = os.environ.get("RUMPHYPER_LIBRARY_PATH", Libraries().folders[0])
    process = start("--json", folder=tmp_path, env={"RUMPHYPER_LIBRARY_PATH": folder})
    output, errors = process.communicate(timeout=30)
    assert not errors
    answer = json.loads(output)
    assert answer["kernel"] == "netbsd"
    assert answer["sent"] == answer["received"] == 8
    calls = answer["hypercalls"]
    assert calls["rumpuser_init"] == calls["rumpuser_exit"] == 1
    assert calls["rumpuser_mutex_enter"] > 1000
    assert calls["rumpcomp_virt_send"] > 8
    assert not left(tmp_path)
