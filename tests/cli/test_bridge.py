"""``rumphyper bridge`` as users run it: what it prints, and what cannot be done."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from rumphyper.link.pcapwrite import PcapWriter
from tests.cli.command import fails, finish, line, run, started


def test_ping_through_a_bridge_with_json(tmp_path: Path) -> None:
    left, right = f"shmif:{tmp_path}/a", f"shmif:{tmp_path}/b"
    with started("bridge", left, right, "--json", "--stats-period", "0.2") as bridge:
        first = json.loads(line(bridge.stdout))  # it is there, and both buses are
        assert first["stats"]["ports"][0]["state"] == "up"
        with started("echo", right, "-a", "10.0.0.2/24", "--duration", "20") as echo:
            line(echo.stdout)
            done = run("ping", left, "10.0.0.2", "-c", "5", "-i", "0.01")
        assert done.returncode == 0, done
        bridge.send_signal(signal.SIGTERM)
        status, out, err = finish(bridge)
    assert (status, err) == (0, "")
    *stats, summary = [json.loads(text) for text in out.splitlines()]
    assert all("stats" in each for each in stats)
    one, two = summary["summary"]["ports"]
    assert (one["link"], two["link"]) == (left, right)
    assert one["received"] == 6  # who-has and five requests
    assert two["received"] == 6
    assert one["sent"] >= 6
    assert summary["summary"]["addresses"] == 2


def test_the_screen(tmp_path: Path) -> None:
    left, right = f"shmif:{tmp_path}/a", f"shmif:{tmp_path}/b"
    done = run(
        "bridge", left, right, "--hub", "--duration", "0.3", "--stats-period", ".1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"bridging {left}, {right}"
    assert f"{left} (up): received 0, sent 1, full 0" in done.stdout
    assert done.stdout.count("received/s") >= 2
    assert lines[-4].startswith("--- bridge of 2 links, 0.")
    assert lines[-1] == "filtered 0"


def test_a_capture_ends_the_bridge(tmp_path: Path) -> None:
    file, bus = f"pcap:{tmp_path}/x.pcap", f"shmif:{tmp_path}/bus"
    with PcapWriter(f"{tmp_path}/x.pcap") as writer:
        writer.send([bytes(60)] * 3)
    done = run("bridge", file, bus)
    assert done.returncode == 0
    assert done.stderr == f"rumphyper bridge: over: {file}: the file has ended\n"
    assert f"{file} (over): received 3" in done.stdout
    done = run("bridge", file, bus, "--json")
    events = [json.loads(text) for text in done.stdout.splitlines()]
    assert events[0] == {"event": f"over: {file}: the file has ended"}
    (tmp_path / "x.pcap").write_bytes((tmp_path / "x.pcap").read_bytes()[:-5])
    done = run("bridge", file, bus)
    assert done.returncode == 1
    assert "rumphyper bridge: dead: " in done.stderr


def test_what_cannot_be_done(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/a"
    assert "at least two" in fails("bridge", bus)
    assert "named twice" in fails("bridge", bus, bus)
    assert "is the wire of" in fails("bridge", bus, f"shmif:{tmp_path}/./a")
    assert "known forms" in fails("bridge", bus, "bogus:x")
    assert "two ends" in fails("bridge", bus, bus + "b", bus + "c", "--patch")
    (tmp_path / "no.pcap").write_bytes(b"this is no capture, whatever its name says")
    assert "no.pcap" in fails("bridge", bus, f"pcap:{tmp_path}/no.pcap")


@pytest.mark.parametrize(
    "words",
    [
        ("--hub", "--patch"),
        ("--full", "later"),
        ("--storm", "-1"),
        ("--ageing", "nan"),
        ("--stats-period", "0"),
        ("--wait", "forever"),
    ],
)
def test_what_is_no_option(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run("bridge", f"shmif:{tmp_path}/a", f"shmif:{tmp_path}/b", *words)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not (tmp_path / "a").exists()
