"""A bus that is not one: errors, never a crash, a loop or a frame from nowhere."""

from __future__ import annotations

import mmap
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.link.shmif_inbox import Fetch, Inbox
from rumphyper.ring.shmif import (
    CHUNK,
    DATA,
    DATA_SIZE,
    HEADER_SIZE,
    MAGIC,
    MAX_LENGTH,
    SIZE,
    Bus,
)
from rumphyper.ring.shmif_frames import split, split_packets
from rumphyper.ring.shmif_read import Stretch, peek, settled, take
from rumphyper.ring.shmif_write import Writer, join

PACKETS = DATA_SIZE // HEADER_SIZE + 1
LIMIT = 1024

words = st.one_of(
    st.sampled_from((0, 1, 13, 14, 24, DATA_SIZE - 1, DATA_SIZE, DATA_SIZE + 1)),
    st.integers(0, DATA_SIZE),
    st.integers(0, 2**32 - 1),
    st.just(2**32 - 1),
)
generations = st.one_of(
    st.integers(0, 3), st.just(2**64 - 1), st.integers(0, 2**64 - 1)
)


def valid_bus(seed: int, laps: float) -> bytearray:
    rng = random.Random(seed)
    memory = bytearray(SIZE)
    bus = Bus(memory)
    bus.initialise()
    writer = Writer(bus)
    sent = 0
    while sent < laps * DATA_SIZE:
        count = rng.choice((1, 5, 40))
        frames = [rng.randbytes(rng.randint(14, 1514)) for _ in range(count)]
        sizes = [len(frame) for frame in frames]
        writer.append(b"", join(frames, sizes, 1, 1, 2), sizes[-1] + HEADER_SIZE)
        sent += sum(sizes)
    bus.release()
    return memory


VALID = [valid_bus(seed, laps) for seed, laps in enumerate((0.001, 0.3, 1.0, 2.4))]


def set_header(
    memory: bytearray, generation: int, first: int, last: int, magic: int = MAGIC
) -> None:
    struct.pack_into("=II", memory, 0, magic, 3)
    struct.pack_into("=QII", memory, 8, generation, first, last)


def fetcher(bus: Bus, locked: bool) -> Fetch:
    def fetch(position: int, limit: int) -> Stretch:
        if locked:
            return take(bus, position, limit)
        state = settled(bus)
        if state is None:  # a fuzzed lock word
            raise CorruptError("lock", "held", "free it")
        found = peek(bus, state, position, limit)
        assert found is not None  # nobody changes anything
        return found

    return fetch


def read_all(bus: Bus, position: int, *, locked: bool, stop: int | None = None) -> int:
    """Read until the end or an error; the number of frames."""
    inbox = Inbox(bus, lambda: None, fetcher(bus, locked), 7, position, stop)
    count = 0
    for turn in range(2 * PACKETS):
        try:
            if turn % 2:
                frames = inbox.frames(split, LIMIT)
            else:
                packets = inbox.frames(split_packets, LIMIT)
                frames = [packet.frame for packet in packets]
        except CorruptError:
            with pytest.raises(CorruptError, match=r"^(fuzzed|lock): .* \(.+\)$"):
                inbox.frames(split, LIMIT)
            return count
        assert all(14 <= len(frame) <= MAX_LENGTH for frame in frames)
        count += len(frames)
        assert count <= PACKETS
        if not frames and not inbox.pending:
            return count
    raise AssertionError("the reader does not come to an end")


def attack(memory: bytearray, position: int) -> None:
    """Do all that a link does, on hostile memory."""
    # Inbox reads straight from a mapping, and copies from anything else.
    shared = mmap.mmap(-1, SIZE)
    shared[:] = memory
    for buffer in (shared, memory):
        attack_buffer(buffer, position)
    shared.close()


def attack_buffer(memory: bytearray | mmap.mmap, position: int) -> None:
    bus = Bus(memory, "fuzzed")
    try:
        before = len(memory)
        for locked in (True, False):
            read_all(bus, position, locked=locked)
            try:
                end = bus.end()
                start = bus.oldest(end, bus.state[1])
            except CorruptError:
                continue
            read_all(bus, start, locked=locked, stop=end)
        bus.is_sound()
        writer = Writer(bus)
        for frames in (
            [bytes(60)],
            [bytes(1514)] * 64,
            [b"x" * n for n in range(14, 90)],
        ):
            sizes = [len(frame) for frame in frames]
            state = bus.state
            try:
                packets = join(frames, sizes, 1, 1, 2)
                writer.append(b"", packets, sizes[-1] + HEADER_SIZE)
            except CorruptError:
                assert bus.state == state
        assert len(memory) == before
        bus.renew()
        if bus.words[0] != MAGIC:
            bus.initialise()
        assert bus.is_sound()
    finally:
        bus.release()


@given(
    generation=generations,
    first=words,
    last=words,
    position=st.one_of(st.integers(0, 4 * DATA_SIZE), st.integers(0, 2**84)),
    fill=st.one_of(
        st.binary(min_size=1, max_size=64),
        st.integers(0, 1600).map(lambda n: struct.pack("=I", n) + bytes(20 + n)),
        st.integers(0, 9),
    ),
    lengths=st.lists(st.tuples(st.integers(0, DATA_SIZE - 4), words), max_size=8),
)
@settings(max_examples=150, deadline=None)
def test_arbitrary_octets(
    generation: int,
    first: int,
    last: int,
    position: int,
    fill: bytes | int,
    lengths: list[tuple[int, int]],
) -> None:
    if isinstance(fill, bytes):
        memory = bytearray((fill * (SIZE // len(fill) + 1))[:SIZE])
    else:
        memory = bytearray(random.Random(fill).randbytes(SIZE))
    if isinstance(fill, bytes) and len(fill) > HEADER_SIZE:
        # Often on a boundary, so that there is something to read.
        memory[:] = bytes(DATA) + memory[:-DATA]
        first, last = (place // len(fill) * len(fill) for place in (first, last))
    set_header(memory, generation, first, last)
    memory[24:32] = bytes(8)
    for offset, length in lengths:
        struct.pack_into("=I", memory, DATA + offset, length)
    attack(memory, position)


@given(
    which=st.integers(0, len(VALID) - 1),
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from((0, 4, 8, 12, 16, 20, 24, 28)),
                st.integers(0, SIZE - 4),
            ),
            words,
        ),
        min_size=1,
        max_size=5,
    ),
    headers=st.lists(st.tuples(st.integers(0, 400), words), max_size=3),
    position=st.integers(0, 4 * DATA_SIZE),
)
@settings(max_examples=80, deadline=None)
def test_valid_buses_with_some_words_changed(
    which: int,
    changes: list[tuple[int, int]],
    headers: list[tuple[int, int]],
    position: int,
) -> None:
    memory = bytearray(VALID[which])
    places = packet_places(memory)
    for number, value in headers:
        offset = places[number % len(places)]
        if offset <= DATA_SIZE - 4:
            struct.pack_into("=I", memory, DATA + offset, value)
    for offset, value in changes:
        struct.pack_into("=I", memory, offset, value)
    attack(memory, position)


def packet_places(memory: bytearray) -> list[int]:
    bus = Bus(memory)
    end = bus.end()
    position = bus.oldest(end, bus.state[1])
    places = []
    while position < end:
        places.append(position % DATA_SIZE)
        position += HEADER_SIZE + bus.length_at(places[-1])
    bus.release()
    return places


@pytest.mark.parametrize(
    ("offset", "octets", "field", "value"),
    [
        (0, 0xDEADBEEF, "magic", "0xdeadbeef"),
        (0, 0x54D011CA, "magic", "other byte order"),
        (4, 2, "version", "0x2"),
        (4, 99, "version", "0x63"),
        (16, DATA_SIZE + 1, "first", hex(DATA_SIZE + 1)),
        (20, DATA_SIZE, "offset", hex(DATA_SIZE)),
        (20, 2**32 - 1, "offset", "0xffffffff"),
        (DATA, 2**32 - 1, "length of the packet at offset 0x0", "0xffffffff"),
        (DATA, MAX_LENGTH + 1, "length of the packet at offset 0x0", "0x10000"),
    ],
)
def test_the_error_names_file_field_and_value(
    offset: int, octets: int, field: str, value: str
) -> None:
    memory = bytearray(SIZE)
    bus = Bus(memory, "/tmp/a.bus")
    bus.initialise()
    struct.pack_into("=I", memory, offset, octets)
    with pytest.raises(CorruptError) as caught:
        look_at(bus)
    text = str(caught.value)
    assert text.startswith("/tmp/a.bus: ")
    assert field in text
    assert value in text
    assert caught.value.remedy


def look_at(bus: Bus) -> None:
    bus.check_kind()
    end = bus.end()
    bus.oldest(end, bus.state[1])


def test_a_bus_has_one_size() -> None:
    for size in (0, 32, SIZE - 1, SIZE + 1):
        with pytest.raises(CorruptError, match=f"size is {size:#x}"):
            Bus(bytearray(size))


def test_a_packet_that_runs_past_the_newest_one_is_an_error() -> None:
    memory = bytearray(VALID[1])
    bus = Bus(memory)
    places = packet_places(memory)
    end = bus.end()
    struct.pack_into("=I", memory, DATA + places[-2], 60_000)
    for locked in (True, False):
        inbox = Inbox(bus, lambda: None, fetcher(bus, locked), None, end - 3000, end)
        with pytest.raises(CorruptError, match="length of the packet"):
            list(iter(lambda inbox=inbox: inbox.frames(split, 64), []))  # type: ignore[misc]


def test_a_generation_that_goes_back_is_an_error() -> None:
    memory = bytearray(VALID[3])
    bus = Bus(memory)
    end = bus.end()
    bus.publish(bus.generation - 1, *bus.state[1:])
    for locked in (True, False):
        with pytest.raises(CorruptError, match=r"generation is 0x1, it was 0x2"):
            fetcher(bus, locked)(end, CHUNK)
