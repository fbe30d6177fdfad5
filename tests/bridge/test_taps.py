"""A bridge of TAPs: interfaces that are deleted, down, or of another MTU."""

from __future__ import annotations

from rumphyper.bridge.bridge import Bridge
from rumphyper.link import Link, open_link
from tests.bridge.kit import bridged
from tests.link.tap_support import (
    HOSTS,
    OURS,
    arrivals,
    frame,
    ip,
    packet_socket,
    until,
)
from tests.namespace import isolated


def delete_and_wait(bridge: Bridge, name: str) -> None:
    port = bridge.ports[int(name[1])]
    times = port.reopened
    ip("link", "del", name)
    assert until(lambda: port.reopened == times + 1)


@isolated
def test_a_tap_that_is_deleted_comes_back() -> None:
    with bridged("tap:t0", "tap:t1", reopen=True, loop_check=0) as (bridge, said):
        for name in ("t0", "t1", "t0"):
            delete_and_wait(bridge, name)
            with packet_socket("t0") as left, packet_socket("t1") as right:
                sent = [frame(bytes([n]) * 46) for n in range(5)]
                for one in sent:
                    left.send(one)
                assert arrivals(right, 5) == sent
        assert [line.split(":")[0] for line in said] == ["dead", "tap"] * 3
        assert "deleted" in said[0]


@isolated
def test_the_others_go_on_when_one_dies() -> None:
    """Also those between which frames are not copied."""
    with (
        bridged("tap:t0", "tap:t1", "tap:t2", loop_check=0) as (bridge, _),
        packet_socket("t0") as left,
        packet_socket("t1") as right,
    ):

        def crosses(size: int, source: bytes, target: bytes) -> None:
            one, other = (left, right) if source == OURS else (right, left)
            octets = frame(bytes(size), target, source)
            one.send(octets)
            assert arrivals(other, 1) == [octets]

        for size in (50, 400):  # flooded, then to where the other was seen
            crosses(size, OURS, HOSTS)
            crosses(size, HOSTS, OURS)
        ip("link", "del", "t2")
        assert until(lambda: not bridge.ports[2].alive)
        for size in (60, 1000, 70, 300):
            crosses(size, OURS, HOSTS)
            crosses(size, HOSTS, OURS)


@isolated
def test_an_interface_that_is_down_only_loses_its_frames() -> None:
    with (
        bridged("tap:t0", "tap:t1", loop_check=0) as (bridge, said),
        packet_socket("t0") as left,
    ):
        ip("link", "set", "t1", "down")
        left.send(frame(b"lost".ljust(46)))
        assert until(lambda: bridge.ports[1].losses.refused == 1)
        ip("link", "set", "t1", "up")
        with packet_socket("t1") as right:
            left.send(frame(b"there".ljust(46)))
            assert until(lambda: len(said) == 2)
            assert b"there" in arrivals(right, 1)[0]
    assert "the interface is down" in said[0]
    assert "again" in said[1]


@isolated
def test_jumbo_into_small() -> None:
    def opener(linkstr: str) -> Link:
        return open_link(linkstr, mtu=9000 if linkstr == "tap:big" else 1500)

    with bridged("tap:big", "tap:small", opener=opener, loop_check=0) as (bridge, _):
        [line] = bridge.mtu_differences()
        assert line.startswith("tap:small: its MTU is 1500, another link's 9000")
        with packet_socket("big") as left, packet_socket("small") as right:
            sizes = [50, 8000, 1500, 1501, 9000, 60]
            for size in sizes:
                left.send(frame(bytes(size)))
            got = arrivals(right, 4)
        # A tag's four octets fit, with or without a tag.
        assert [len(f) - 14 for f in got] == [50, 1500, 1501, 60]
        assert bridge.ports[1].losses.oversize == 2
