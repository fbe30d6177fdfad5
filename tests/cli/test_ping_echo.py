"""``ping`` against ``echo`` over one bus, watched by ``dump``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import ROOT, argv, fails, finish, line, run, started
from tests.judges import tshark

MAC = "b2:a0:00:00:00:02"
LINK_LOCAL = "fe80::b0a0:ff:fe00:2"
ECHO = ("-a", "10.0.0.2/24", "-a", "2001:db8::2/64", "--mac", MAC)


@pytest.mark.parametrize(
    ("target", "options", "source"),
    [
        ("10.0.0.2", (), "10.0.0.254"),
        ("10.0.0.2", ("-I", "10.0.0.7/24", "-s", "1472"), "10.0.0.7"),
        ("10.0.0.2", ("-s", "0"), "10.0.0.254"),
        (LINK_LOCAL, ("--mac", "b2:a0:00:00:00:01"), "fe80::b0a0:ff:fe00:1"),
        ("2001:db8::2", ("-I", "2001:db8::1"), "2001:db8::1"),
        ("ff02::1", (), "fe80::"),
    ],
)
def test_two_processes(
    tmp_path: Path, target: str, options: tuple[str, ...], source: str
) -> None:
    bus = f"shmif:{tmp_path}/bus"
    with started("echo", bus, *ECHO, "-c", "5") as echo:
        banner = line(echo.stdout)
        done = run("ping", bus, target, "-c", "5", "-i", "0.01", *options)
        status, _out, _err = finish(echo)
    assert banner == (
        f"answering on {bus} as {MAC}: 10.0.0.2/24, 2001:db8::2/64, {LINK_LOCAL}/64"
    )
    assert (done.returncode, done.stderr, status) == (0, "", 0)
    lines = done.stdout.splitlines()
    size = int(options[-1]) if "-s" in options else 56
    assert re.fullmatch(
        rf"PING {target} from {source}\S* on {bus}: {size} data bytes", lines[0]
    )
    answerer = LINK_LOCAL if target == "ff02::1" else target
    for number in range(1, 6):
        assert re.fullmatch(
            rf"{size + 8} bytes from {answerer}: icmp_seq={number} ttl=64 "
            r"time=\d+\.\d{3} ms",
            lines[number],
        )
    assert lines[8].startswith("5 packets transmitted, 5 received, 0% packet loss,")
    assert re.fullmatch(r"rtt min/avg/max/mdev = (\d+\.\d{3}[/ ]){4}ms", lines[9])


def test_json_of_both(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    with started("echo", bus, *ECHO, "--json", "-c", "20") as echo:
        # echo says nothing before its end: ping asks again until it is there
        ping = run("ping", bus, "10.0.0.2", "-c", "20", "-i", "0", "-W", "20", "--json")
        status, out, _err = finish(echo)
    assert (ping.returncode, status) == (0, 0)
    figures = json.loads(ping.stdout)
    assert (figures["sent"], figures["received"], figures["loss"]) == (20, 20, 0)
    assert (figures["target"], figures["source"]) == ("10.0.0.2", "10.0.0.254")
    assert 0 < figures["min_ms"] <= figures["avg_ms"] <= figures["max_ms"]
    answers = json.loads(out)
    assert answers["mac"] == MAC
    assert answers["addresses"] == ["10.0.0.2/24", "2001:db8::2/64", f"{LINK_LOCAL}/64"]
    assert answers["answered"]["icmp"] == 20
    assert answers["answered"]["arp"] >= 1
    assert answers["sent"] == answers["answered"]["arp"] + 20


def test_nobody_answers(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    done = run("ping", bus, "10.0.0.2", "-c", "2", "-i", "0.05", "-W", "0.1")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "icmp_seq=1 10.0.0.2 is not there",
        "icmp_seq=2 10.0.0.2 is not there",
    ]
    assert "2 packets transmitted, 0 received, 100% packet loss" in lines[-1]
    done = run("ping", bus, "ff02::1", "-c", "1", "-W", "0.1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["min_ms"] is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_with_the_summary(tmp_path: Path, number: int) -> None:
    bus = f"shmif:{tmp_path}/bus"
    with started("echo", bus, *ECHO) as echo:
        line(echo.stdout)
        with started("ping", bus, "10.0.0.2", "-i", "0.01") as ping:
            for _ in range(4):
                line(ping.stdout)
            ping.send_signal(number)
            status, out, err = finish(ping)
        assert (status, err) == (0, "")
        said = re.search(r"(\d+) packets transmitted, (\d+) received", out)
        assert said is not None
        # The signal may come between a request and its reply.
        assert int(said[1]) - int(said[2]) in (0, 1)
        assert "rtt min/avg/max/mdev" in out
        echo.send_signal(number)
        status, out, err = finish(echo)
    assert (status, err) == (0, "")
    counts = re.search(r"(\d+) frames received.*arp 1, icmp (\d+),", out)
    assert counts is not None
    assert int(counts[1]) == int(counts[2]) + 1
    with started("ping", bus, "10.0.0.2", "-W", "30") as ping:
        line(ping.stdout)
        ping.send_signal(number)
        status, out, _err = finish(ping)
    assert status == 1
    assert "0 received, 100% packet loss" in out


def test_echo_for_a_time(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    assert run("echo", bus, "--duration", "0.05").returncode == 0
    done = run("echo", bus, "--duration", "0.05", "-c", "1")
    assert done.returncode == 1
    assert "0 frames received" in done.stdout


def test_what_cannot_be_done(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    assert "known forms" in fails("ping", "bogus:x", "10.0.0.2")
    assert "empty" in fails("echo", "shmif:")
    assert "at most 1472" in fails("ping", bus, "10.0.0.2", "-s", "1473")
    assert "own address" in fails("ping", bus, "10.0.0.2", "-I", "10.0.0.2")
    assert "one is IPv4" in fails("ping", bus, "10.0.0.2", "-I", "2001:db8::1")
    assert "single station" in fails("echo", bus, "-a", "224.0.0.1")
    for words in (
        ("ping", bus, "nowhere"),
        ("ping", bus, "10.0.0.2", "-c", "0"),
        ("ping", bus, "10.0.0.2", "-i", "-1"),
        ("ping", bus, "10.0.0.2", "-I", "10.0.0.1/99"),
        ("echo", bus, "--mac", "b2:a0"),
        ("echo", bus, "--duration", "nan"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert "usage:" in done.stderr


def test_a_live_bus_seen_by_tshark(tmp_path: Path) -> None:
    bus, file = f"shmif:{tmp_path}/bus", tmp_path / "live.pcapng"
    with started("echo", bus, *ECHO) as echo:
        line(echo.stdout)
        with subprocess.Popen(
            argv("dump", bus, "-w", "-", "-c", "14"), cwd=ROOT, stdout=subprocess.PIPE
        ) as dump, started("dump", bus, "-w", file, "-c", "14") as filed:  # fmt: skip
            for target in ("10.0.0.2", LINK_LOCAL):
                done = run("ping", bus, target, "-c", "3", "-i", "0")
                assert done.returncode == 0
            piped = dump.communicate(timeout=30)[0]
            assert finish(filed)[0] == 0
    fields = ["frame.protocols", "icmp.checksum.status", "icmpv6.checksum.status"]
    lines = tshark(file, [*fields, "icmp.resp_in", "icmpv6.resp_in"])
    assert [line[0] for line in lines] == [
        *["eth:ethertype:arp"] * 2,
        *["eth:ethertype:ip:icmp:data"] * 6,
        *["eth:ethertype:ipv6:icmpv6"] * 2,
        *["eth:ethertype:ipv6:icmpv6:data"] * 6,
    ][: len(lines)]
    assert len(lines) == 14
    assert {line[1] or line[2] for line in lines[2:]} == {"1"}  # good
    assert len(tshark("-", fields, piped)) == 14


def test_a_dead_bus(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with started("echo", f"shmif:{path}", *ECHO) as echo:
        line(echo.stdout)
        assert run("ping", f"shmif:{path}", "10.0.0.2", "-c", "3", "-i", "0").stdout
    for linkstr in (f"shmif:{path}", str(path)):
        done = run("dump", linkstr, "--no-follow")
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert len(lines) == 8
        assert "who-has 10.0.0.2 tell 10.0.0.254" in lines[0]
        stamps = [float(text.split()[0]) for text in lines]
        assert stamps == sorted(stamps)  # one host's uptime
    file = tmp_path / "dead.pcap"
    assert run("dump", path, "--no-follow", "-w", file).returncode == 0
    assert len(tshark(file, ["frame.len"])) == 8


def test_a_watcher_neither_makes_nor_changes_a_bus(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    assert "No such file" in fails("dump", f"shmif:{path}", "--no-follow")
    assert not path.exists()
    run("echo", f"shmif:{path}", "--duration", "0")
    before = path.read_bytes()
    path.chmod(0o400)
    done = run("dump", path, "--no-follow", "--json")
    assert json.loads(done.stdout) == {"frames": 0, "octets": 0, "dropped": 0}
    assert path.read_bytes() == before
