"""Our end of the bus against a model of the C driver, on one and the same bus."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rumphyper.ring.shmif import DATA_SIZE, HEADER_SIZE, SIZE, Bus
from rumphyper.ring.shmif_frames import Packet, check_rest, split, split_packets
from rumphyper.ring.shmif_read import peek, settled, take
from rumphyper.ring.shmif_write import SLACK, Writer, join, join_equal
from tests.ring.driver import ROOM, DriverBus, DriverReader

OURS, THEIRS = 0x1111_0000_0000_2222, 0x3333_0000_0000_4444

pytestmark = pytest.mark.skipif(
    HEADER_SIZE != 24, reason="the model is of the driver on LP64 hosts"
)


class OurReader:
    """What the link does with a bus, without its file and lock."""

    def __init__(self, bus: Bus, *, locked: bool) -> None:
        self.bus = bus
        self.locked = locked
        self.position = bus.end()
        self.laps = 0

    def frames(self, limit: int = 1 << 17, batch: int = 1 << 20) -> list[bytes]:
        found: list[bytes] = []
        while True:
            if self.locked:
                start, copy, more = take(self.bus, self.position, limit)
            else:
                state = settled(self.bus)
                assert state is not None
                looked = peek(self.bus, state, self.position, limit)
                assert looked is not None
                start, copy, more = looked
            if start != self.position:
                self.laps += 1
            if not copy:
                return found
            offset = 0
            while True:
                some, offset = split(copy, offset, len(copy), batch, OURS)
                found += some
                if not some:
                    break
            rest = copy[offset:]
            if rest:
                check_rest(self.bus, start + offset, rest, more)
            self.position = start + offset


class Room:
    """One bus with two writers and readers of each kind."""

    def __init__(self) -> None:
        memory = bytearray(SIZE)
        self.bus = Bus(memory)
        self.bus.initialise()
        self.writer = Writer(self.bus)
        self.driver = DriverBus(memory)
        self.driver.attach()

    def we_send(self, frames: Sequence[bytes]) -> None:
        sizes = [len(frame) for frame in frames]
        newest = HEADER_SIZE + sizes[-1]
        if len(set(sizes)) == 1:
            self.writer.append(*join_equal(frames, sizes[0], 5, 7, OURS), newest)
        else:
            self.writer.append(b"", join(frames, sizes, 5, 7, OURS), newest)

    def check(self) -> None:
        assert self.bus.is_sound()
        assert self.driver.first != self.driver.last


def some_frames(rng: random.Random, count: int) -> list[bytes]:
    kind = rng.random()
    if kind < 0.3:
        return [rng.randbytes(rng.choice((14, 60, 1500, 1514)))] * count
    return [rng.randbytes(rng.randint(14, 1514)) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_both_kinds_of_readers_see_all_that_both_kinds_of_writers_send(
    seed: int,
) -> None:
    rng = random.Random(seed)
    room = Room()
    readers = [OurReader(room.bus, locked=True), OurReader(room.bus, locked=False)]
    theirs = DriverReader(room.driver, THEIRS)
    theirs.frames()
    from_us: list[bytes] = []
    from_them: list[bytes] = []
    sent = 0
    while sent < 5 * DATA_SIZE:
        frames = some_frames(rng, rng.randint(1, 60))
        sent += sum(map(len, frames))
        if rng.random() < 0.5:
            room.we_send(frames)
            from_us += frames
        else:
            for frame in frames:
                room.driver.send(frame, THEIRS)
            from_them += frames
        room.check()
        if rng.random() < 0.3:
            limit = rng.choice((4096, 1 << 17))
            batch = rng.choice((1, 7, 64, 1 << 20))
            for reader in readers:
                assert reader.frames(limit, batch) == from_them
            assert theirs.frames() == from_us
            from_us, from_them = [], []
    assert room.driver.generation >= 4
    assert [reader.laps for reader in readers] == [0, 0]
    assert theirs.overruns == 0


@pytest.mark.parametrize("writer", ["ours", "theirs"])
@pytest.mark.parametrize("size", [14, 60, 1514, 488])
def test_a_lapped_reader_goes_on_with_the_newest_megabyte(
    writer: str, size: int
) -> None:
    room = Room()
    locked, unlocked = (OurReader(room.bus, locked=flag) for flag in (True, False))
    theirs = DriverReader(room.driver, 1)
    count = 3 * DATA_SIZE // (size + HEADER_SIZE)
    frames = [struct.pack(">I", number) * (size // 4 + 1) for number in range(count)]
    frames = [frame[:size] for frame in frames]

    def send(frames: Sequence[bytes]) -> None:
        if writer == "ours":
            room.we_send(frames)
        else:
            for frame in frames:
                room.driver.send(frame, THEIRS)

    for at in range(0, count, 40):
        send(frames[at : at + 40])
    if room.driver.after(room.driver.last) < room.driver.last:
        # While the newest packet reaches around the end, a driver that is
        # lapped takes the wrong generation and reads the oldest ones again and
        # again: NetBSD's flaw, not the bus's. The next packet ends it.
        frames.append(frames[0])
        send(frames[-1:])
    got = theirs.frames()
    assert theirs.overruns == 1
    # No frame is torn, none is left out before the end, and nearly all that
    # the bus has room for is still there.
    assert got == frames[-len(got) :]
    assert len(got) * (size + HEADER_SIZE) > DATA_SIZE - 2 * SLACK - 2000
    if writer == "theirs":
        assert locked.frames() == got
        assert unlocked.frames() == got
        assert (locked.laps, unlocked.laps) == (1, 1)


@given(gap=st.integers(0, 60), size=st.integers(14, 100), ours=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_packet_may_end_anywhere_around_the_end_of_the_bus(
    gap: int, size: int, ours: bool
) -> None:
    room = Room()
    driver = DriverReader(room.driver, 1)
    sizes = [1500] * ((ROOM - HEADER_SIZE - 4000) // (1500 + HEADER_SIZE))
    left = ROOM - HEADER_SIZE - gap - len(sizes) * (1500 + HEADER_SIZE)
    while left > 1600:
        sizes.append(1000)
        left -= 1000 + HEADER_SIZE
    sizes.append(left - HEADER_SIZE)
    filling = [bytes([n % 251]) * length for n, length in enumerate(sizes)]
    for at in range(0, len(filling), 60):
        room.we_send(filling[at : at + 60])
        assert driver.frames() == filling[at : at + 60]
    readers = [OurReader(room.bus, locked=True), OurReader(room.bus, locked=False)]
    assert room.driver.after(room.driver.last) == (ROOM - gap) % ROOM
    frames = [bytes([number]) * size for number in range(1, 9)]
    for frame in frames:
        if ours:
            room.we_send([frame])
        else:
            room.driver.send(frame, THEIRS)
        room.check()
    assert driver.frames() == frames
    assert [reader.frames() for reader in readers] == [[] if ours else frames] * 2
    assert room.driver.generation == 1


def test_headers_are_octet_for_octet_the_drivers() -> None:
    ours, theirs = Room(), Room()
    frames = [bytes([n]) * (14 + 37 * n % 1400) for n in range(1, 100)]
    ours.we_send(frames)
    for frame in frames:
        theirs.driver.send(frame, OURS)
    mine, model = bytearray(ours.driver.memory), theirs.driver.memory
    # The model stamps 7 s 8 us.
    for room in (mine, model):
        offset = DriverBus(room).after(0)
        while any(room[32 + offset : 36 + offset]):
            room[32 + offset + 4 : 32 + offset + 12] = bytes(8)
            offset = DriverBus(room).after(offset)
    assert mine == model


def test_stamps_and_senders_come_with_the_packets() -> None:
    room = Room()
    position = room.bus.end()
    room.we_send([b"a" * 20, b"b" * 20])
    room.driver.send(b"c" * 30, THEIRS)
    _, copy, _ = take(room.bus, position)
    packets, offset = split_packets(copy, 0, len(copy), 9, None)
    assert offset == len(copy)
    assert packets == [
        Packet(b"a" * 20, 5, 7, OURS),
        Packet(b"b" * 20, 5, 7, OURS),
        Packet(b"c" * 30, 7, 8, THEIRS),
    ]
    assert split_packets(copy, 0, len(copy), 9, OURS)[0] == packets[2:]
    assert split_packets(copy, 0, len(copy), 1, None) == (packets[:1], 44)


def test_a_renewed_bus_looks_lapped_to_all_readers() -> None:
    room = Room()
    readers = [OurReader(room.bus, locked=True), OurReader(room.bus, locked=False)]
    theirs = DriverReader(room.driver, 1)
    room.we_send([bytes(900)] * 100)
    room.bus.renew()
    room.check()
    assert theirs.frames() == []
    assert theirs.overruns == 1
    room.driver.send(b"next" * 5, THEIRS)
    for reader in readers:
        assert reader.frames() == [b"next" * 5]
        assert reader.laps == 1
    assert theirs.frames() == [b"next" * 5]
    room.we_send([bytes(1514)] * 60)
    assert theirs.frames() == [bytes(1514)] * 60
