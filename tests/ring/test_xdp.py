"""AF_XDP's rings against a kernel in Python: in order, out of order, and hostile."""

from __future__ import annotations

import mmap
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.ring.xdp import ADDRESS, DESCRIPTOR, Offsets, Ring
from rumphyper.ring.xdp_receive import Receiver
from rumphyper.ring.xdp_send import Sender, space

COUNT = 8
CHUNK = 2048
HEADROOM = 256
PLACES = Offsets(0, 64, 192, 128)


class Kernel:
    """The other end of the four rings (net/xdp/xsk.c), with buffers in any order."""

    def __init__(self, start: int = 0) -> None:
        self.umem = mmap.mmap(-1, COUNT * CHUNK + space(COUNT, CHUNK))
        self.rings: dict[str, mmap.mmap] = {}
        for name in ("rx", "tx", "fill", "done"):
            memory = self.rings[name] = mmap.mmap(-1, 4096)
            for offset in (0, 64):
                struct.pack_into("=I", memory, offset, start)
        self.receiver = Receiver(
            self.ring("rx", 16), self.ring("fill", 8), self.umem, CHUNK, HEADROOM
        )
        self.sender = Sender(
            self.ring("tx", 16), self.ring("done", 8), self.umem, CHUNK, COUNT * CHUNK
        )
        self.sent: list[bytes] = []

    def ring(self, name: str, size: int) -> Ring:
        produces = name in ("tx", "fill")
        memory = self.rings[name]
        return Ring(f"xdp {name}", memory, PLACES, COUNT, size, produces=produces)

    def index(self, name: str, which: int) -> int:
        """0 for the producer's, 1 for the consumer's."""
        (value,) = struct.unpack_from("=I", self.rings[name], 64 * which)
        return int(value)

    def move(self, name: str, which: int, count: int) -> None:
        value = (self.index(name, which) + count) & 0xFFFFFFFF
        struct.pack_into("=I", self.rings[name], 64 * which, value)

    def consume(
        self, name: str, kind: struct.Struct, count: int
    ) -> list[tuple[int, ...]]:
        there = (self.index(name, 0) - self.index(name, 1)) & 0xFFFFFFFF
        assert there <= COUNT
        found = []
        for _ in range(min(count, there)):
            at = 192 + self.index(name, 1) % COUNT * kind.size
            found.append(kind.unpack_from(self.rings[name], at))
            self.move(name, 1, 1)
        return found

    def produce(self, name: str, kind: struct.Struct, *fields: int) -> None:
        at = 192 + self.index(name, 0) % COUNT * kind.size
        kind.pack_into(self.rings[name], at, *fields)
        self.move(name, 0, 1)

    def receive(self, frames: list[bytes], chance: random.Random | None = None) -> int:
        """Deliver frames to slots of the fill ring; return how many had one."""
        slots = [slot for (slot,) in self.consume("fill", ADDRESS, len(frames))]
        if chance:
            chance.shuffle(slots)
        for slot, octets in zip(slots, frames, strict=False):
            assert slot % CHUNK == 0
            assert slot < COUNT * CHUNK
            at = slot + HEADROOM
            self.umem[at : at + len(octets)] = octets
            self.produce("rx", DESCRIPTOR, at, len(octets), 0)
        return len(slots)

    def transmit(self, count: int, chance: random.Random | None = None) -> None:
        """Send what is in the ring, and tell that it was."""
        entries = self.consume("tx", DESCRIPTOR, count)
        for at, size, options in entries:
            assert options == 0
            assert at % CHUNK + size <= CHUNK
            self.sent.append(self.umem[at : at + size])
        if chance:
            chance.shuffle(entries)
        for at, _, _ in entries:
            self.produce("done", ADDRESS, at)


def some(chance: random.Random, count: int) -> list[bytes]:
    """Frames of random sizes, or all of one that is likely."""
    alike = chance.choice([0, 0, 60, 64, 65, 128, 200, 256, 257, 1514])
    return [chance.randbytes(alike or chance.randint(14, 200)) for _ in range(count)]


@pytest.mark.parametrize("start", [0, (1 << 32) - 5])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("way", ["get", "views", "count"])
def test_what_the_kernel_receives_arrives(way: str, shuffled: bool, start: int) -> None:
    kernel, chance = Kernel(start), random.Random(1)
    found: list[bytes] = []
    wanted: list[bytes] = []
    counted = 0
    for _ in range(300):
        frames = some(chance, chance.randint(0, 6))
        taken = kernel.receive(frames, chance if shuffled else None)
        wanted += frames[:taken]
        views, count, octets = kernel.receiver.take(chance.randint(1, 8), way)
        assert octets == sum(map(len, wanted[counted : counted + count]))
        assert len(views) == (0 if way == "count" else count)
        found += map(bytes, views)
        counted += count
    while count := (got := kernel.receiver.take(8, way))[1]:
        found += map(bytes, got[0])
        counted += count
    assert counted == len(wanted) > 500
    assert found == ([] if way == "count" else wanted)
    assert kernel.receiver.in_order != shuffled
    kernel.receiver.take(1, way)
    free = kernel.consume("fill", ADDRESS, 100)
    assert sorted(slot for (slot,) in free) == [n * CHUNK for n in range(COUNT)]


@pytest.mark.parametrize("start", [0, (1 << 32) - 5])
@pytest.mark.parametrize("shuffled", [False, True])
def test_what_is_put_is_sent(shuffled: bool, start: int) -> None:
    kernel, chance = Kernel(start), random.Random(2)
    wanted: list[bytes] = []
    for turn in range(400):
        frames = some(chance, chance.randint(1, 10))
        if turn % 50 == 49:
            one = chance.randbytes(chance.choice([60, 77, 1000]))
            kernel.transmit(COUNT)
            for _ in range(3):
                wanted += [one] * kernel.sender.repeat(one, 5)
                kernel.transmit(COUNT)
        taken = kernel.sender.put(frames, list(map(len, frames)))
        wanted += frames[:taken]
        kernel.transmit(chance.randint(0, 6), chance if shuffled else None)
    kernel.transmit(COUNT)
    assert kernel.sent == wanted
    assert len(wanted) > 800
    assert kernel.sender.room(COUNT) == COUNT


def test_a_slot_is_not_written_before_its_frame_has_gone() -> None:
    kernel = Kernel()
    frames = [bytes([number]) * 60 for number in range(COUNT)]
    assert kernel.sender.put(frames, [60] * COUNT) == COUNT
    assert kernel.sender.put(frames, [60] * COUNT) == 0
    assert kernel.sender.repeat(frames[0], 1) == 0
    first, second, *_ = kernel.consume("tx", DESCRIPTOR, COUNT)
    kernel.produce("done", ADDRESS, second[0])  # before the first one
    assert kernel.sender.put(frames, [60] * COUNT) == 0
    kernel.produce("done", ADDRESS, first[0])
    assert kernel.sender.room(2) == 2


def test_what_the_kernel_has_not_looked_at_can_be_taken_back() -> None:
    kernel = Kernel()
    sender = kernel.sender
    for text in (b"a", b"b", b"c"):
        assert sender.put([text * 60] * 3, [60] * 3) == 3
        if text != b"b":
            kernel.transmit(2)
            assert not sender.take_back(3)
            kernel.transmit(2)
        else:
            assert sender.take_back(3)
    assert kernel.sent == [b"a" * 60] * 3 + [b"c" * 60] * 3
    assert sender.room(COUNT) == COUNT


@pytest.mark.parametrize(
    ("at", "size", "options"),
    [(COUNT * CHUNK, 60, 0), (1 << 63, 60, 0), (HEADROOM, CHUNK, 0),
     (CHUNK - 1, 2, 0), (HEADROOM, 60, 1), (HEADROOM, 0xFFFFFFFF, 0)],
)  # fmt: skip
def test_a_descriptor_that_leads_astray_is_refused(
    at: int, size: int, options: int
) -> None:
    kernel = Kernel()
    kernel.receive([b"x" * 60])
    assert kernel.receiver.take(8, "get")[0] == [b"x" * 60]
    kernel.produce("rx", DESCRIPTOR, at, size, options)
    with pytest.raises(CorruptError, match=f"xdp rx: {size} octets at {at:#x}"):
        kernel.receiver.take(8, "get")


@pytest.mark.parametrize(
    "address",
    [0, COUNT * CHUNK + 1, 2 * COUNT * CHUNK + 64, 3 * COUNT * CHUNK, 1 << 63],
)
def test_a_completion_of_nothing_is_refused(address: int) -> None:
    kernel = Kernel()
    kernel.sender.put([b"x" * 60], [60])
    kernel.produce("done", ADDRESS, address)
    with pytest.raises(CorruptError, match="was not being sent"):
        kernel.sender.room(COUNT)


def test_a_completion_that_comes_twice_is_refused() -> None:
    kernel = Kernel()
    kernel.sender.put([b"x" * 60] * 3, [60] * 3)
    second = kernel.consume("tx", DESCRIPTOR, 3)[1]
    for _ in range(2):
        kernel.produce("done", ADDRESS, second[0])
    with pytest.raises(CorruptError, match="was not being sent"):
        kernel.sender.room(COUNT)


@given(st.sampled_from(["rx", "fill", "tx", "done"]), st.integers(17, (1 << 32) - 10))
def test_an_index_that_cannot_be_is_refused(name: str, value: int) -> None:
    kernel = Kernel()
    ring = {
        "rx": kernel.receiver.rx, "fill": kernel.receiver.fill,
        "tx": kernel.sender.tx, "done": kernel.sender.done,
    }[name]  # fmt: skip
    which = 1 if name in ("tx", "fill") else 0
    struct.pack_into("=I", kernel.rings[name], 64 * which, value)
    with pytest.raises(CorruptError, match=f"xdp {name}: .* the ring has 8 entries"):
        ring.available()
