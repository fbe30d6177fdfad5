"""A bridge between real links: buses, capture files; loops; links that die."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from rumphyper.bridge import Bridge, Settings
from rumphyper.errors import HostError, LinkstrError
from rumphyper.link import Link, open_link
from rumphyper.link.pcapwrite import PcapWriter
from rumphyper.net.ethernet import Ethernet
from tests.bridge.kit import ALL, Asked, bridged, frames
from tests.link.tap_support import gather, open_fds, until


@pytest.mark.parametrize("waiting", ["adaptive", "epoll", "busy"])
@pytest.mark.parametrize("mode", ["learn", "hub"])
def test_three_buses(tmp_path: Path, mode: str, waiting: str) -> None:
    buses = [f"shmif:{tmp_path}/{name}" for name in "abc"]
    with bridged(*buses, mode=mode, waiting=waiting, loop_check=0) as (bridge, said):
        links = [open_link(bus) for bus in buses]
        sent = frames(300)
        links[0].send(sent)
        for link in links[1:]:
            assert gather(link, 300) == sent
        answer = Ethernet(sent[0][6:12], b"\2\0\0\0\0\2", 0x88B5, b"answer").build()
        links[1].send([answer])
        assert gather(links[0], 1) == [answer]
        assert links[2].recv(timeout=0.1) == ([] if mode == "learn" else [answer])
        assert links[1].recv(timeout=0) == []

        def counted(way: str) -> list[int]:
            ports: Any = bridge.as_dict()["ports"]
            return [port[way] for port in ports]

        assert counted("received") == [300, 1, 0]
        third = 300 if mode == "learn" else 301
        assert until(lambda: counted("sent") == [1, 300, third])
        for link in links:
            link.close()
    assert said == []


def test_nothing_is_half_made(tmp_path: Path) -> None:
    before = open_fds()
    good = f"shmif:{tmp_path}/bus"
    for bad, kind in (
        (f"shmif:{tmp_path}/none/bus", HostError),
        ("bogus:x", LinkstrError),
        (f"pcap:{tmp_path}/none", HostError),
        (f"shmif:{tmp_path}/../{tmp_path.name}/bus", LinkstrError),
        (good, LinkstrError),
    ):
        with pytest.raises(kind):
            Bridge([good, bad])
    with pytest.raises(LinkstrError, match="at least two"):
        Bridge([good])
    with pytest.raises(LinkstrError, match="two ends"):
        Bridge([good, "tap:x", "tap:y"], Settings(mode="patch"))
    os.link(tmp_path / "bus", tmp_path / "other")
    with pytest.raises(LinkstrError, match="the wire of"):
        Bridge([good, f"faulty:drop=0:shmif:{tmp_path}/other"])
    assert open_fds() == before


def within_a_while(link: Link, time_left: float = 0.3) -> list[bytes]:
    """The frames of tests that arrive in a time, without probes for loops."""
    end, got = time.monotonic() + time_left, []
    while (left := end - time.monotonic()) > 0:
        got += [one for one in link.recv(timeout=left) if one[12:14] == b"\x88\xb5"]
    return got


def test_two_bridges_make_a_loop_and_one_of_them_ends_it(tmp_path: Path) -> None:
    """Frames would go round for ever; soon each arrives once again."""
    buses = [f"shmif:{tmp_path}/{name}" for name in "ab"]
    with (
        open_link(buses[0]) as left,
        open_link(buses[1]) as right,
        bridged(*buses, loop_check=0.1) as (first, said),
    ):
        with bridged(*buses, loop_check=0.1) as (second, more):
            left.send(frames(5))

            def shut() -> list[bool]:
                return [port.shut for each in (first, second) for port in each.ports]

            assert until(lambda: any(shut()), 10)
            assert any("a loop" in line for line in said + more)

            def quiet() -> bool:
                """Exactly one of the two has a port shut, and nothing circles."""
                if sum(shut()) != 1:
                    return False
                while right.recv(timeout=0):
                    pass
                sent = frames(3, source=7)
                left.send(sent)
                got = within_a_while(right)
                return got == sent and sum(shut()) == 1

            assert until(quiet, 30)
        # the other one is alone now, and takes over if it was not the one
        assert until(lambda: not any(port.shut for port in first.ports), 10)
        sent = frames(3, source=8)
        left.send(sent)
        got = within_a_while(right)
        assert got[-3:] == sent


def test_a_storm_of_invented_addresses_leaves_the_others_alone(tmp_path: Path) -> None:
    buses = [f"shmif:{tmp_path}/{name}" for name in "abc"]
    with bridged(*buses, addresses=50, storm=100, loop_check=0) as (bridge, _):
        links = [open_link(bus) for bus in buses]
        mine = [b"\2\0\0\0\1" + bytes([n]) for n in range(3)]
        for n, link in enumerate(links):
            link.send([Ethernet(ALL, mine[n], 0x88B5, bytes(46)).build()])
            for other in links[:n] + links[n + 1 :]:
                assert len(gather(other, 1)) == 1
        storm = [
            Ethernet(ALL, b"\2\0\0" + n.to_bytes(3, "big"), 0x88B5, bytes(46)).build()
            for n in range(0x10000, 0x10000 + 3000)
        ]
        links[0].send(storm)
        for n in range(20):
            one = Ethernet(mine[2], mine[1], 0x88B5, bytes([n]) * 46).build()
            links[1].send([one])
            got: list[bytes] = []
            while one not in got:
                got = gather(links[2], 1)
                assert got
        figures: Any = bridge.as_dict()
        assert figures["addresses"] == 50
        assert until(lambda: bridge.as_dict()["storm"] == 3001 - 100)
        assert figures["unlearnt"] > 0
        for link in links:
            link.close()


def test_a_capture_is_poured_onto_a_bus(tmp_path: Path) -> None:
    sent = frames(1000)
    with PcapWriter(str(tmp_path / "in.pcap")) as writer:
        writer.send(sent)
    said: list[str] = []
    bus = f"shmif:{tmp_path}/bus"
    with open_link(bus) as link, Bridge(
        [f"pcap:{tmp_path}/in.pcap", bus], Settings(loop_check=0), said.append
    ) as bridge:  # fmt: skip
        assert bridge.run(Asked()) is False  # it came to its end by itself
        assert gather(link, 1000) == sent
        assert [port.state for port in bridge.ports] == ["over", "up"]
    assert said == [f"over: pcap:{tmp_path}/in.pcap: the file has ended"]


def test_a_damaged_capture_is_a_dead_link(tmp_path: Path) -> None:
    sent = frames(3)
    path = tmp_path / "in.pcap"
    with PcapWriter(str(path)) as writer:
        writer.send(sent)
    with open(path, "ab") as file:
        file.write(b"\xff" * 40)
    said: list[str] = []
    bus = f"shmif:{tmp_path}/bus"
    with open_link(bus) as link, Bridge(
        [f"pcap:{path}", bus], Settings(loop_check=0), said.append
    ) as bridge:  # fmt: skip
        assert bridge.run(Asked()) is False
        assert gather(link, 3) == sent
        assert bridge.ports[0].state == "dead"
    assert said[0].startswith("dead: ")


def test_a_bus_that_is_removed_comes_back(tmp_path: Path) -> None:
    buses = [f"shmif:{tmp_path}/{name}" for name in "ab"]
    with bridged(*buses, reopen=True, loop_check=0) as (bridge, said):
        (tmp_path / "b").unlink()
        assert until(lambda: bridge.ports[1].reopened == 1)
        assert "removed or replaced" in said[0]
        with open_link(buses[0]) as left, open_link(buses[1]) as right:
            sent = frames(10)
            left.send(sent)
            assert gather(right, 10) == sent
    with bridged(*buses) as (bridge, said):
        (tmp_path / "b").unlink()
        assert until(lambda: not bridge.ports[1].alive)
    assert len(said) == 1


def test_an_error_of_the_loop_is_not_swallowed(tmp_path: Path) -> None:
    def show() -> None:
        raise ZeroDivisionError

    bridge = Bridge([f"shmif:{tmp_path}/{name}" for name in "ab"])
    with pytest.raises(ZeroDivisionError), bridge:
        bridge.run(Asked(), duration=5, period=0.01, show=show)


def test_the_time_is_kept(tmp_path: Path) -> None:
    shown: list[float] = []
    with Bridge([f"shmif:{tmp_path}/{name}" for name in "ab"]) as bridge:
        begin = time.monotonic()
        assert bridge.run(
            Asked(),
            duration=0.5,
            period=0.1,
            show=lambda: shown.append(time.monotonic()),
        )
        assert 0.5 <= time.monotonic() - begin < 5
    assert 1 <= len(shown) <= 5
