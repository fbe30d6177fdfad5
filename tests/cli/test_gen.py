"""``rumphyper gen``: two processes, bad wires between them, and the host kernel."""

from __future__ import annotations

import json
import signal
import socket
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from rumphyper.host.netif import Netif
from rumphyper.link.faulty_lane import Lane, Rates
from rumphyper.link.pcapwrite import PcapWriter
from rumphyper.link.tap import open_tap
from tests.cli.command import fails, finish, line, run, started
from tests.link.tap_support import HOSTS, ip
from tests.namespace import isolated


def received(tmp_path: Path, wire: str, *words: str) -> tuple[dict[str, Any], Any]:
    """What rx says of what tx sends through ``wire``, and what tx says."""
    bus = f"shmif:{tmp_path}/bus"
    with started(
        "gen", "rx", bus, "--json", "--details", "--stats-period", "0.05"
    ) as rx:
        assert "stats" in json.loads(line(rx.stdout))  # from now on it listens
        sent = run("gen", "tx", f"{wire}{bus}", "-n", "1000", "--json", *words)
        assert sent.returncode == 0, sent
        status, out, err = finish(rx)
    assert (status, err) == (0, "")
    return json.loads(out.splitlines()[-1]), json.loads(sent.stdout)


@pytest.mark.parametrize("setting", ["drop=7%", "duplicate=7%", "reorder=7%"])
def test_every_frame_that_a_bad_wire_harmed_is_found(
    tmp_path: Path, setting: str
) -> None:
    """The same dice, thrown here for the numbers alone, say which ones they are."""
    got, sent = received(tmp_path, f"faulty:{setting},seed=5:", "-b", "1000")
    assert sent["frames"] == 1000
    name, _, _ = setting.partition("=")
    lane = Lane(Rates(**{name: 0.07}, seed=5), "out")
    passed = lane.pass_on([n.to_bytes(8, "big") for n in range(1000)], 0.0)
    numbers = [int.from_bytes(bytes(one), "big") for one in [*passed, *lane.due(1e9)]]
    highest = [-1, *accumulate(numbers, max)]
    lost = sorted(set(range(1000)) - set(numbers))
    doubled = [n for n in set(numbers) if numbers.count(n) > 1]
    late = [n for place, n in enumerate(numbers) if highest[place] > n]
    [stream] = got["streams"]
    found = [n for low, high in stream["missing"] for n in range(low, high + 1)]
    assert found == lost
    assert sorted(stream["doubled"]) == sorted(doubled)
    assert sorted(stream["late"]) == sorted(late)
    assert len(lost) + len(doubled) + len(late) > 30
    figures = (got["lost"], got["duplicates"], got["reordered"])
    assert figures == (len(lost), len(doubled), len(late))
    assert stream["sent"] == 1000


def test_a_good_wire(tmp_path: Path) -> None:
    got, sent = received(tmp_path, "", "-l", "1514", "-R", "5k", "-b", "20")
    assert (got["frames"], got["octets"], got["other"]) == (1000, 1514000, 0)
    assert (got["lost"], got["duplicates"], got["reordered"]) == (0, 0, 0)
    assert (sent["frames"], sent["octets"], sent["asked_per_s"]) == (1000, 1514000, 5e3)
    assert sent["per_s"] <= 5000 * 1.2


def test_ping_pong(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    with started("gen", "pong", bus) as pong:
        assert line(pong.stdout) == f"pong on {bus}"
        done = run("gen", "ping", bus, "-n", "200", "--json")
        rated = run("gen", "ping", bus, "-n", "50", "-R", "500", "-l", "1000")
        lossy = run("gen", "ping", f"faulty:drop=20%,seed=3:{bus}", "-n", "30", "-W",
                    "0.05", "--json")  # fmt: skip
        pong.send_signal(signal.SIGINT)
        status, out, _ = finish(pong)
    assert (done.returncode, rated.returncode, status) == (0, 0, 0)
    figures = json.loads(done.stdout)
    assert (figures["sent"], figures["answered"], figures["lost"]) == (200, 200, 0)
    times = figures["us"]
    order = ("min", "p50", "p90", "p99", "p99.9", "max")
    assert [times[name] for name in order] == sorted(times[name] for name in order)
    assert times["min"] > 0
    assert rated.stdout.startswith("sent 50, answered 50, lost 0")
    figures = json.loads(lossy.stdout)
    assert figures["sent"] == 30
    assert 3 < figures["lost"] < 25
    assert figures["answered"] == 30 - figures["lost"]
    assert out.startswith("answered ")


def test_nobody_answers(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    done = run("gen", "ping", bus, "-n", "2", "-W", "0.05", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["lost"] == 2
    assert json.loads(done.stdout)["us"] is None
    assert run("gen", "rx", bus, "--duration", "0.05").returncode == 1
    assert run("gen", "pong", bus, "--duration", "0.05", "-n", "1").returncode == 1


def test_progress_and_rates_that_are_not_held(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    words = ("-n", "1000000000", "--duration", "0.5", "--stats-period", "0.1")
    done = run("gen", "tx", bus, "-R", "900M", *words)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines
    for name in ("frames", "now_per_s", "mean_per_s", "done_percent", "left_s"):
        assert f"{name} " in lines[-1]
    assert "asked_per_s 900,000,000, rate_held no" in done.stdout
    done = run("gen", "tx", bus, *words, "--json")
    assert done.stderr == ""
    *stats, summary = [json.loads(text) for text in done.stdout.splitlines()]
    assert stats
    assert stats[0]["stats"]["frames"] > 0
    assert summary["rate_held"] is None
    assert summary["seconds"] >= 0.5


@isolated
def test_the_host_kernel_takes_numbered_frames_for_udp() -> None:
    with open_tap("t0", host_mac=HOSTS, persistent=True), Netif() as netif:
        netif.add_address("t0", "10.1.0.1/24")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("10.1.0.1", 7777))
        udp.settimeout(10)
        with started(
            "gen", "tx", "tap:t0", "-R", "200", "-d", "10.1.0.1:7777", "-s",
            "10.1.0.7:5000-5001", "-D", HOSTS.hex(":"),
        ) as tx:  # fmt: skip
            found = [udp.recvfrom(2000) for _ in range(20)]
            tx.send_signal(signal.SIGTERM)
            assert finish(tx)[0] == 0
    numbers = [int.from_bytes(data[8:16], "big") for data, _ in found]
    assert numbers == [*range(numbers[0], numbers[0] + 20)]
    assert {data[:3] for data, _ in found} == {b"rhg"}
    ports = [port for _, (address, port) in found if address == "10.1.0.7"]
    assert ports == [5000 + number % 2 for number in numbers]


@isolated
def test_a_link_that_vanishes_is_told_behind_the_summary() -> None:
    for function in ("tx", "rx", "ping", "pong"):
        with open_tap("t0", persistent=True):
            pass
        words = ("-R", "1000") if function in ("tx", "ping") else ("--keep",)
        with started(
            "gen", function, "tap:t0", *words, "--json", "--stats-period", "0.05"
        ) as gen:
            assert "stats" in json.loads(line(gen.stdout))
            ip("link", "del", "t0")
            status, out, err = finish(gen)
        assert status == 2
        assert json.loads(out.splitlines()[-1])["function"] == function
        # Who deletes an interface takes it down first.
        assert "deleted the interface" in err or "interface is down" in err


def test_a_capture_is_received_to_its_end(tmp_path: Path) -> None:
    with PcapWriter(f"{tmp_path}/x.pcap") as writer:
        writer.send([bytes(60)] * 5)
    done = run("gen", "rx", f"pcap:{tmp_path}/x.pcap", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert (figures["frames"], figures["other"]) == (5, 5)


def test_what_cannot_be_done(tmp_path: Path) -> None:
    bus, file = f"shmif:{tmp_path}/bus", tmp_path / "x.pcap"
    assert "known forms" in fails("gen", "tx", "bogus:x")
    assert "58 is the least" in fails("gen", "tx", bus, "-l", "57")
    assert "42 is the least" in fails("gen", "tx", bus, "-l", "41", "--unnumbered")
    assert "at most 1514" in fails("gen", "tx", bus, "-l", "1515")
    assert "at most 65536" in fails("gen", "tx", bus, "-s", "10.0.0.0-10.255.0.0")
    assert "No such file" in fails("gen", "tx", bus, "--pcap", file)
    file.write_bytes(b"unreadable, as it is no capture at all")
    assert str(file) in fails("gen", "tx", bus, "--pcap", file)
    assert "leave one out" in fails("gen", "tx", bus, "--pcap", file, "--unnumbered")
    with PcapWriter(str(file)) as writer:
        writer.send([bytes(9000)])
    assert "carries 14 to 1514" in fails("gen", "tx", bus, "--pcap", file)
    assert "open for reading" in fails("gen", "ping", f"pcap:{file}")


@pytest.mark.parametrize(
    "words",
    [("-R", "0"), ("-R", "10x"), ("-n", "0"), ("-s", "10.0.0.9-10.0.0.1"),
     ("-D", "b2:a0"), ("--speed", "-1"), ("--stats-period", "0")],
)  # fmt: skip
def test_what_is_no_option(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run("gen", "tx", f"shmif:{tmp_path}/bus", *words)
    assert done.returncode == 2
    assert "usage:" in done.stderr
