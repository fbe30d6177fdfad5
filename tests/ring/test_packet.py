"""The blocks of TPACKET_V3 on a bytearray: what is read, and what is refused."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.ring.packet import BLOCK, FRAME, HEADER, PacketRing

SIZE = 4096
BLOCKS = 3


class Kernel:
    """The other side: fills blocks as net/packet/af_packet.c does."""

    def __init__(self) -> None:
        self.memory = bytearray(SIZE * BLOCKS)
        self.block = 0

    def hand_over(self, frames: list[bytes]) -> None:
        start = self.block * SIZE
        assert struct.unpack_from("=I", self.memory, start + 8) == (0,)
        at, first = start + 48, 48
        for octets in frames:
            room = -(-(HEADER + 20 + len(octets)) // 8) * 8
            fields = (room, len(octets), len(octets), 1, HEADER + 20, 0, 0)
            FRAME.pack_into(self.memory, at, *fields)
            place = at + HEADER + 20
            self.memory[place : place + len(octets)] = octets
            at += room
        BLOCK.pack_into(self.memory, start, 1, 0, 1, len(frames), first, at - start)
        self.block = (self.block + 1) % BLOCKS


def test_blocks_are_read_in_turn_and_given_back() -> None:
    kernel, chance = Kernel(), random.Random(1)
    ring = PacketRing("t", kernel.memory, SIZE, BLOCKS, headroom=10)
    assert ring.take(5) == []
    for turn in range(20):
        frames = [
            chance.randbytes(chance.randint(14, 200)) for _ in range(turn % 7 + 1)
        ]
        kernel.hand_over(frames)
        found: list[bytes] = []
        while records := ring.take(3):
            assert len(records) <= 3
            found += [bytes(kernel.memory[at : at + size]) for at, size, *_ in records]
        assert found == frames


def test_a_block_stays_ours_until_it_is_released() -> None:
    kernel = Kernel()
    ring = PacketRing("t", kernel.memory, SIZE, BLOCKS)
    kernel.hand_over([b"x" * 20])
    assert len(ring.take(1)) == 1
    assert ring.held
    assert kernel.memory[8] == 1
    ring.release()
    assert kernel.memory[8] == 0
    ring.release()
    ring.close()


@pytest.mark.parametrize(
    ("at", "value"),
    [(12, 1 << 20), (16, SIZE), (20, SIZE + 1), (48, SIZE), (48 + 12, SIZE),
     (48 + 24, 3)],
)  # fmt: skip
def test_what_leads_out_of_the_block_is_refused(at: int, value: int) -> None:
    kernel = Kernel()
    ring = PacketRing("packet:x", kernel.memory, SIZE, BLOCKS, headroom=10)
    kernel.hand_over([b"x" * 20, b"y" * 20])
    struct.pack_into("=I", kernel.memory, at, value)
    with pytest.raises(CorruptError, match="packet:x: block 0"):
        ring.take(10)


CHANGE = st.tuples(st.integers(0, 60), st.integers(0, (1 << 32) - 1))


@given(st.lists(CHANGE | st.tuples(st.integers(0, 60), st.integers(0, 300))))
def test_no_octets_lead_out_of_the_memory(changes: list[tuple[int, int]]) -> None:
    kernel = Kernel()
    kernel.hand_over([b"x" * 20, b"y" * 30, b"z" * 40])
    for word, value in changes:
        struct.pack_into("=I", kernel.memory, word * 4, value)
    kernel.memory[8] |= 1
    ring = PacketRing("t", kernel.memory, SIZE, BLOCKS, headroom=10)
    try:
        for at, size, *_ in ring.take(1000):
            assert 10 <= at <= at + size <= SIZE
    except CorruptError:
        pass
