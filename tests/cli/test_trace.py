"""``rumphyper trace`` from outside: the demo, and scripts on NetBSD."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rumphyper.cli.traceargs import duration, select
from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.catalogue import CATALOGUE, members
from tests.cli.command import argv, fails, line, run, started
from tests.real.rump import require_rump

LINE = re.compile(r" *\d+\.\d{6} \[\d+ [^\]]+\] (\w+)\(.*\)( = \S.*)? <(\d+\.\d{6})>$")


@pytest.fixture(autouse=True)
def _mini(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mini kernel is meant, unless a test says that NetBSD is."""
    if request.node.get_closest_marker("rump"):
        require_rump()
    else:
        monkeypatch.setenv("RUMPHYPER_LIBRARY_PATH", "/nowhere")


def traced(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A trace of the demo, which ends well."""
    done = run("trace", *words)
    assert done.returncode == 0, done.stderr
    assert "4 pings, 4 answers" in done.stdout
    return done


def names(text: str) -> list[str]:
    """The hypercalls of lines of text."""
    found = []
    for one in text.splitlines():
        match = LINE.match(one)
        assert match, one
        found.append(match[1])
    return found


def test_text_of_the_demo(tmp_path: Path) -> None:
    """Every hypercall is a line, on standard error or in the file."""
    done = traced()
    seen = names(done.stderr)
    assert seen[0] == "rumpuser_init"
    assert {"rumpuser_malloc", "rumpcomp_virt_send", "rumpuser_thread_join"} <= set(
        seen
    )
    total = re.search(r"^(\d+) hypercalls of (\d+) kinds", done.stdout, re.M)
    assert total is not None
    assert (len(seen), len(set(seen))) == (int(total[1]), int(total[2]))
    path = tmp_path / "trace.txt"
    assert traced("-o", path).stderr == ""
    assert {"rumpuser_malloc", "rumpuser_thread_join"} <= set(names(path.read_text()))


def test_summary_of_the_demo(tmp_path: Path) -> None:
    done = traced("-c", "-S", "calls")
    table = done.stderr.splitlines()
    assert table[0].startswith("% time")
    assert table[-1].endswith(" total")
    counts = [int(row.split()[3]) for row in table[2:-2]]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == int(table[-1].split()[3])
    path = tmp_path / "both.txt"
    traced("-C", "-o", path)
    head = next(i for i, x in enumerate(path.read_text().splitlines()) if x[0] == "%")
    assert len(names("\n".join(path.read_text().splitlines()[:head]))) > 50
    traced("-c", "--json", "-o", path)
    answer = json.loads(path.read_text())
    assert answer["lost"] == 0
    assert answer["totals"]["rumpuser_init"]["calls"] == 1
    assert answer["totals"]["rumpuser_getparam"]["errors"] >= 0


def test_chrome_and_json_of_the_demo(tmp_path: Path) -> None:
    chrome, text = tmp_path / "trace.json", tmp_path / "trace.txt"
    assert traced("--chrome", chrome).stderr == ""
    traced("--chrome", chrome, "-o", text)
    events = json.loads(chrome.read_text())["traceEvents"]
    calls = [event["name"] for event in events if event["ph"] == "X"]
    assert calls == names(text.read_text())
    done = traced("--json", "-e", "rumpuser_init", "-e", "family=random,param")
    records = [json.loads(one) for one in done.stderr.splitlines()]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert {r["name"] for r in records} == {
        "rumpuser_init", "rumpuser_getrandom", "rumpuser_getparam"
    }  # fmt: skip


def test_filters() -> None:
    seen = names(traced("-e", "family=clock", "-e", "!clock_gettime").stderr)
    assert set(seen) == {"rumpuser_clock_sleep"}
    assert names(traced("--thread", "nobody").stderr) == []
    slow = traced("--slower-than", "1ms").stderr
    assert names(slow)
    assert all(float(LINE.match(one)[3]) >= 0.001 for one in slow.splitlines())  # type: ignore[index]


def test_expressions() -> None:
    """As strace has them: names, families, all but these."""
    locks = {call.name for call in members("locks")}
    assert select(["malloc,rumpuser_free"]) == {"rumpuser_malloc", "rumpuser_free"}
    assert (
        select(["family=locks"]) == select(["%locks"]) == select(["t=%locks"]) == locks
    )
    assert select(["family=locks", "trace=!mutex_enter"]) == locks - {
        "rumpuser_mutex_enter"
    }
    assert select(["!%locks"]) == set(CATALOGUE) - locks
    for wrong in ("nonsense", "family=nonsense", "%", "x=malloc", ""):
        with pytest.raises(UnsupportedError):
            select([wrong])
    with pytest.raises(UnsupportedError, match="no hypercall is left"):
        select(["malloc", "!malloc"])


def test_durations() -> None:
    values = {"100us": 1e-4, "2ms": 2e-3, "50ns": 5e-8, "3s": 3.0, "0.5": 0.5}
    for text, seconds in values.items():
        assert duration(text) == pytest.approx(seconds)
    for wrong in ("", "us", "x", "-1us", "nan", "1h"):
        with pytest.raises(Exception, match="is no time"):
            duration(wrong)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-e", "nonsense"), "nonsense"),
        (("-o", "/nowhere/x"), "/nowhere/x"),
        (("--chrome", "/nowhere/x"), "/nowhere/x"),
        (("--ncpu", "2"), "means nothing to the demo"),
        (("/no/such/script.py",), "no such script"),
    ],
)
def test_what_cannot_be_done(words: tuple[str, ...], text: str) -> None:
    assert text in fails("trace", *words)


@pytest.mark.parametrize("words", [("-o",), ("--chrome",), ("-c", "-o")])
def test_a_full_disk_is_told_and_stops_nothing(words: tuple[str, ...]) -> None:
    done = run("trace", *words, "/dev/full")
    assert "4 pings, 4 answers" in done.stdout
    assert done.returncode == 2
    assert done.stderr.startswith("rumphyper trace: /dev/full: No space left")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away() -> None:
    process = subprocess.Popen(
        argv("trace"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.readline()
    process.stderr.close()
    assert "4 pings, 4 answers" in process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 0


SCRIPT = """
import socket, sys, threading
def talk():
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.sendto(b"x", one.getsockname())
        assert one.recv(10) == b"x"
talk()
thread = threading.Thread(target=talk, name="talker")
thread.start()
thread.join()
print(sys.argv[1:])
sys.exit(5)
"""


@pytest.mark.rump
@pytest.mark.parametrize("mode", ["native", "hybrid", "python"])
def test_a_script_on_netbsd(mode: str, tmp_path: Path) -> None:
    """Its output, arguments and status are its own; its threads are known."""
    script, chrome = tmp_path / "script.py", tmp_path / "trace.json"
    script.write_text(SCRIPT)
    words = ("--hypercalls", mode, "--chrome", chrome, "-o", tmp_path / "text")
    done = run("trace", *words, script, "-c", "--json")
    assert (done.returncode, done.stderr) == (5, "")
    # NetBSD may have something to say first: its random numbers look odd, say.
    assert done.stdout.splitlines()[-1] == "['-c', '--json']"
    text = (tmp_path / "text").read_text()
    assert len(names(text)) > 10_000
    for name in ("MainThread", "talker", "rsi0/3", "rumpclk0"):
        assert f" {name}] " in text, name
    assert " ?] " not in text
    whole = json.loads(chrome.read_text())
    assert whole["otherData"] == {"lost": 0}
    assert len(whole["traceEvents"]) > 10_000
    done = run("trace", "--hypercalls", mode, "--thread", "talker", script)
    assert {one.split()[2] for one in done.stderr.splitlines()} == {"talker]"}
    assert {"rumpuser_mutex_enter", "rumpuser_curlwpop"} <= set(names(done.stderr))


@pytest.mark.rump
def test_until_ctrl_c(tmp_path: Path) -> None:
    """Without a script, as run does; the text comes meanwhile."""
    spec = f"shmif0=shmif:{tmp_path}/bus,10.5.0.1/24"
    with started("trace", "-e", "family=clock", "-C", "-i", spec) as process:
        while line(process.stdout) != "Ctrl-C ends it.":
            pass
        began = time.monotonic()
        seen = [line(process.stderr) for _ in range(100)]
        assert time.monotonic() - began < 10
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert set(names("\n".join(seen))) <= {call.name for call in members("clock")}
    assert errors.splitlines()[-1].endswith("total")
