"""Forwarding in bound calls: what goes, what is lost, and what stays whole."""

from __future__ import annotations

import ctypes
import os
import random

from rumphyper.dpdk.bpf import Program
from rumphyper.dpdk.forward import Forwarder
from rumphyper.dpdk.library import dpdk
from rumphyper.errors import HostError
from rumphyper.host import thunks
from tests.dpdk.support import alone, check_pools, frame, gather, open_dpdk


def some_frames(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [frame(chance.randbytes(chance.randint(46, 1500))) for _ in range(count)]


def check_forward() -> None:
    with open_dpdk("net_ring0") as source, open_dpdk("net_ring1") as target:
        forwarder = Forwarder(source.port, target.port, size=32)
        assert forwarder.move() == 0
        for count in (1, 31, 32, 33, 64, 200, 500):
            frames = some_frames(count, seed=count)
            assert source.send(frames) == count
            went = 0
            while more := forwarder.move():
                went += more
            assert went == count
            assert gather(target, count) == frames
        assert (forwarder.received, forwarder.dropped) == (861, 0)
        check_pools(source)
        check_pools(target)


@alone
def test_frames_go_from_port_to_port() -> None:
    assert thunks.supported()
    check_forward()


@alone
def test_without_thunks_it_is_slower_and_the_same() -> None:
    os.environ[thunks.SWITCH] = "0"
    check_forward()


@alone
def test_what_has_no_room_is_dropped_and_counted() -> None:
    """net_ring's own ring is full at 1,023 mbufs."""
    with (
        open_dpdk("net_ring0", mbufs=4095) as source,
        open_dpdk("net_ring1") as target,
    ):
        forwarder = Forwarder(source.port, target.port, size=64)
        sent = went = 0
        for _ in range(4):
            sent += source.send([frame(bytes(100))] * 500)
            while forwarder.received < sent:
                went += forwarder.move()
        assert sent == 2000
        assert forwarder.received == 2000
        assert forwarder.dropped == 2000 - went > 0
        assert len(gather(target, went)) == went
        check_pools(source)


@alone
def test_a_program_on_the_way() -> None:
    frames = [frame(bytes([number]) * 50) for number in range(100)]
    wanted = [one[6:12] + one[:6] + one[12:] for one in frames if one[14] != 7]
    with open_dpdk("net_ring0") as source, open_dpdk("net_ring1") as target:
        source.rewrite(Program().reject(14, b"\x07").swap_macs())
        forwarder = Forwarder(source.port, target.port, size=32)
        source.send(frames)
        assert forwarder.move() == 99
        assert gather(target, 99) == wanted
        assert (forwarder.received, forwarder.dropped) == (100, 0)
        check_pools(source)


@alone
def test_callbacks_of_others_are_called() -> None:
    """One that somebody else has registered, here a C callback made by ctypes."""
    seen: list[tuple[int, int, int]] = []
    word = ctypes.c_uint16
    kind = ctypes.CFUNCTYPE(
        word, word, word, ctypes.c_void_p, word, word, ctypes.c_void_p
    )

    def look(port: int, queue: int, mbufs: int, count: int, most: int, _: int) -> int:
        seen.append((port, queue, count))
        return count

    callback = kind(look)
    add = dpdk().handles["ethdev"].rte_eth_add_rx_callback
    add.restype = ctypes.c_void_p
    add.argtypes = [word, word, kind, ctypes.c_void_p]
    with open_dpdk("net_ring0") as source, open_dpdk("net_ring1") as target:
        assert add(source.port.number, 0, callback, None)
        forwarder = Forwarder(source.port, target.port, size=32)
        source.send([frame(bytes(50))] * 40)
        assert forwarder.move() == 40
        assert [count for _, _, count in seen] == [32, 8]
        source.send([frame(bytes(50))] * 5)
        assert len(source.recv(timeout=1)) == 5
        assert seen[-1] == (source.port.number, 0, 5)


@alone
def test_the_same_frame_again_and_again() -> None:
    one = frame(bytes(50))
    with open_dpdk("net_null0") as link:
        for _ in range(20):
            assert link.generate(one, 300) == 300
        assert link.send([bytes(1000)]) == 1
        assert link.generate(one, 10) == 10
        assert link.tx_pool.available == link.tx_pool.count
        assert link.counters.sent == 6011
    with open_dpdk("net_ring0") as ring:  # which hands on the mbufs themselves
        assert ring.generate(one, 10) == 10
        assert ring.recv(timeout=1) == [one] * 10


@alone
def test_a_port_has_one_owner() -> None:
    with open_dpdk("net_ring0") as link:
        for rest in (f"{link.port.number}", "net_ring0"):
            try:
                open_dpdk(rest)
            except HostError as error:
                text = str(error)
            assert "already" in text
