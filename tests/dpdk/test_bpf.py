"""Programs that rewrite or drop frames: DPDK verifies, compiles and runs them."""

from __future__ import annotations

import random

import pytest

from rumphyper.dpdk.bpf import MOST, Program, ProgramError
from rumphyper.dpdk.bpfrun import Loaded
from rumphyper.link.dpdk_link import DpdkLink
from tests.dpdk.support import alone, check_pools, frame, gather, open_dpdk

ARP, IP = b"\x08\x06", b"\x08\x00"


def typed(kind: bytes, payload: bytes) -> bytes:
    return bytes(range(1, 13)) + kind + payload


def passed(link: DpdkLink, frames: list[bytes], count: int) -> list[bytes]:
    """What is received of frames that are sent; no more than ``count``."""
    assert link.send(frames) == len(frames)
    got = gather(link, count)
    assert link.recv(timeout=0) == []
    return got


@alone
def test_macs_trade_places() -> None:
    chance = random.Random(1)
    frames = [chance.randbytes(chance.randint(14, 1514)) for _ in range(64)]
    swapped = [one[6:12] + one[:6] + one[12:] for one in frames]
    with open_dpdk("net_ring0") as link:
        link.rewrite(Program().swap_macs())
        assert passed(link, frames, 64) == swapped
        link.rewrite(None)
        assert passed(link, frames, 64) == frames
        check_pools(link)


@alone
def test_octets_of_all_sizes_are_swapped_and_written() -> None:
    octets = bytes(range(64))
    with open_dpdk("net_ring0") as link:
        for count in (1, 2, 3, 4, 5, 6, 7, 8, 13):
            link.rewrite(Program().swap(20, 40, count))
            want = bytearray(octets)
            want[20 : 20 + count] = octets[40 : 40 + count]
            want[40 : 40 + count] = octets[20 : 20 + count]
            assert passed(link, [octets], 1) == [bytes(want)]
            written = bytes(0xFF - number for number in range(count))
            link.rewrite(Program().write(31, written))
            want = bytearray(octets)
            want[31 : 31 + count] = written
            assert passed(link, [octets], 1) == [bytes(want)]


@alone
def test_frames_are_chosen_by_their_octets() -> None:
    some = [typed(ARP, b"a" * 46), typed(IP, b"b" * 46), typed(IP, b"c" * 46)]
    with open_dpdk("net_ring0") as link:
        link.rewrite(Program().require(12, IP))
        assert passed(link, some, 2) == some[1:]
        link.rewrite(Program().reject(12, IP))
        assert passed(link, some, 1) == some[:1]
        link.rewrite(Program().require(12, IP).reject(14, b"bbb").write(14, b"!"))
        assert passed(link, some, 1) == [typed(IP, b"!" + b"c" * 45)]
        link.rewrite(Program().require(12, b"\xff\xff"))
        assert passed(link, some, 0) == []
        check_pools(link)
        assert link.counters.received == 4


@alone
def test_frames_that_are_too_short_for_a_step() -> None:
    short, long = frame(b"12345"), frame(b"123456")
    with open_dpdk("net_ring0") as link:
        link.rewrite(Program().write(19, b"x"))
        assert passed(link, [short, long], 2) == [short, frame(b"12345x")]
        link.rewrite(Program().reject(19, b"7"))
        assert passed(link, [short, long], 1) == [long]


@alone
def test_a_program_for_mbufs_that_one_holds() -> None:
    with open_dpdk("net_ring0") as link:
        loaded = Loaded(link.port.eal, Program().require(12, IP).swap_macs())
        link.send([typed(IP, b"1"), typed(ARP, b"2")])
        (queue,) = link.rx
        assert queue.receive(64) == 2
        assert loaded.run(queue.mbufs.address, 2) == [1, 0]
        one, two = queue.copies()
        assert one[:12] == typed(IP, b"")[6:12] + typed(IP, b"")[:6]
        assert two == typed(ARP, b"2")
        loaded.close()
        loaded.close()


@pytest.mark.parametrize(
    "step",
    [
        lambda p: p.swap(0, 5, 6),
        lambda p: p.swap(-1, 20, 2),
        lambda p: p.swap(0, 6, 0),
        lambda p: p.write(MOST, b"x"),
        lambda p: p.write(0, b""),
        lambda p: p.require(MOST - 1, b"xx"),
    ],
)
def test_steps_that_cannot_be(step) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProgramError):
        step(Program())
