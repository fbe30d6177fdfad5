"""Frames between two DPDK links without a copy."""

from __future__ import annotations

import select

import pytest

from rumphyper.errors import LinkClosedError
from rumphyper.link.dpdk_link import DpdkLink
from tests.bridge.kit import bridged
from tests.dpdk.support import (
    alone,
    alone_in_namespace,
    check_pools,
    frame,
    gather,
    open_dpdk,
)
from tests.link.tap_support import arrivals, packet_socket, until


def numbered(first: int, count: int) -> list[bytes]:
    return [
        frame(number.to_bytes(4, "big").ljust(46 + number % 1400, b"."))
        for number in range(first, first + count)
    ]


@alone_in_namespace
def test_a_patch_of_two_ports() -> None:
    linkstrs = [f"dpdk:net_tap{number},iface=d{number}" for number in range(2)]
    with (
        bridged(*linkstrs, mode="patch", loop_check=0) as (bridge, said),
        packet_socket("d0") as left,
        packet_socket("d1") as right,
    ):
        links = [
            link for port in bridge.ports if isinstance(link := port.link, DpdkLink)
        ]
        free = [link.rx_pool.available for link in links]
        for turn in range(20):
            for one, other in ((left, right), (right, left)):
                sent = numbered(100 * turn, 50)
                for octets in sent:
                    one.send(octets)
                assert arrivals(other, 50) == sent
        counters = [link.counters for link in links]  # which follow what they count
        assert until(lambda: min(min(c.sent, c.received) for c in counters) >= 1000)
        for link in links:
            assert link.counters.received_bytes == 0  # nobody looked at them
        assert len(links) == 2
        assert until(lambda: [link.rx_pool.available for link in links] == free)
        assert said == []


@alone
def test_what_has_no_room_comes_back_as_copies() -> None:
    with (
        open_dpdk("net_ring0", mbufs=4095) as source,
        open_dpdk("net_ring1") as target,
    ):
        move = source.forward_to(target)
        assert move is not None
        assert move(64) == (0, ())
        sent, kept, moved = numbered(0, 1500), list[bytes](), 0
        for first in range(0, 1500, 100):
            assert source.send(sent[first : first + 100]) == 100
            while True:
                count, frames = move(64)
                moved += count
                kept += frames
                if not (count or frames):
                    break
        assert moved + len(kept) == 1500
        assert len(kept) > 400  # the target's ring has 1,024 places
        assert gather(target, moved) == sent[:moved]
        assert kept == sent[moved:]
        assert source.counters.received == 1500
        assert target.counters.sent == moved
        check_pools(source)
        check_pools(target)


@alone
def test_what_a_thread_has_received_goes_first() -> None:
    with open_dpdk("net_ring0") as source, open_dpdk("net_ring1") as target:
        move = source.forward_to(target)
        assert move is not None
        fd = source.fileno()
        out = 0
        for turn in range(50):
            sent = numbered(turn, 200)
            assert source.send(sent) == 200
            assert until(lambda: _readable(fd))
            came: list[bytes] = []
            while len(came) < 200:
                count, frames = move(64)
                came += gather(target, count) if count else list(frames)
                out += count
            assert came == sent
            move(64)
        assert out > 0  # not all of them were copied
        assert until(lambda: not _readable(fd) or move(64) != (0, ()))
        check_pools(source)
        check_pools(target)


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


@alone
def test_ends() -> None:
    """A closed target's frames come back; what ends the source is told."""
    with open_dpdk("net_ring0") as source:
        with open_dpdk("net_ring1") as target:
            move = source.forward_to(target)
            assert move is not None
        sent = numbered(0, 3)
        source.send(sent)
        assert move(64) == (0, sent)
        source.stop()
        assert move(64) == (0, [])
        source.start()
        source.send(sent)
        assert move(64) == (0, sent)
    with pytest.raises(LinkClosedError):
        move(64)


@alone
def test_links_that_do_not_fit() -> None:
    with (
        open_dpdk("net_ring0", mtu=3000) as long,
        open_dpdk("net_ring1") as short,
        open_dpdk("net_null0", rx_queues=2) as two,
    ):
        assert long.forward_to(short) is None
        assert short.forward_to(long) is not None
        assert two.forward_to(short) is None
