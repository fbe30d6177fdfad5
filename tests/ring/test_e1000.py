"""Descriptor rings against a device that follows the manual, on a bytearray.

The device is written from the layouts of the manual (3.2.3, 3.3.3) with struct, and
knows nothing of the driver's words.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.ring.e1000 import DESCRIPTOR, SLOT, RxRing, TxRing, memory

BUS = 0x1_2345_6000
"""Above 4 GiB, and elsewhere than in this process."""

RECEIVED = struct.Struct("<QHHBBH")
TO_SEND = struct.Struct("<QHBBBBH")

DD, EOP = 0x01, 0x02
TX_EOP, TX_IFCS, TX_RS = 0x01, 0x02, 0x08


@attrs.define
class Device:
    """The other side of a ring: it goes from ``head`` to the tail that it is told."""

    area: bytearray
    size: int
    head: int = 0

    def dma(self, bus: int, size: int) -> memoryview:
        """The slot at a bus address; it must be one of this ring's."""
        place = bus - BUS
        assert self.size * DESCRIPTOR <= place
        assert place + size <= memory(self.size)
        assert (place - self.size * DESCRIPTOR) % SLOT == 0
        return memoryview(self.area)[place : place + size]

    def transmit(self, tail: int, most: int | None = None) -> Iterator[bytes]:
        """Send what is there, or the first ``most``, and report where asked to."""
        while self.head != tail and (most is None or most > 0):
            place = self.head * DESCRIPTOR
            bus, length, cso, command, status, css, tag = TO_SEND.unpack_from(
                self.area, place
            )
            assert command & (TX_EOP | TX_IFCS) == TX_EOP | TX_IFCS
            assert (cso, status, css, tag) == (0, 0, 0, 0)
            yield bytes(self.dma(bus, length))
            if command & TX_RS:
                self.area[place + 12] |= DD
            self.head = (self.head + 1) % self.size
            most = None if most is None else most - 1

    def receive(
        self, frame: bytes, tail: int, status: int = DD | EOP, errors: int = 0
    ) -> bool:
        """Store a frame; false when there is no descriptor for it."""
        if self.head == tail:
            return False
        place = self.head * DESCRIPTOR
        bus, _, _, before, _, _ = RECEIVED.unpack_from(self.area, place)
        assert before == 0, "the driver has not taken it"
        self.dma(bus, len(frame))[:] = frame
        checksum = random.getrandbits(16)
        self.area[place : place + DESCRIPTOR] = RECEIVED.pack(
            bus, len(frame), checksum, status, errors, 0
        )
        self.head = (self.head + 1) % self.size
        return True


def sender(size: int) -> tuple[TxRing, Device]:
    area = bytearray(memory(size))
    return TxRing("test", memoryview(area), BUS, size), Device(area, size)


def receiver(size: int) -> tuple[RxRing, Device]:
    area = bytearray(memory(size))
    return RxRing("test", memoryview(area), BUS, size), Device(area, size)


sizes = st.sampled_from((8, 16, 64))
frames = st.lists(st.binary(min_size=14, max_size=80), max_size=70)


@given(size=sizes, steps=st.lists(st.tuples(frames, st.integers(0, 40)), max_size=20))
def test_what_is_put_is_sent_in_order(
    size: int, steps: list[tuple[list[bytes], int]]
) -> None:
    ring, device = sender(size)
    offered: list[bytes] = []
    sent: list[bytes] = []
    for batch, pace in steps:
        in_flight = len(offered) - len(sent)
        taken = ring.put(batch)
        assert taken <= min(len(batch), size - 1)
        if not in_flight:  # whatever has been sent has been reported by now
            assert taken == min(len(batch), size - 1)
        offered += batch[:taken]
        sent += device.transmit(ring.tail, pace)
    sent += device.transmit(ring.tail)
    assert sent == offered
    assert ring.idle


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_the_longest_frame_leaves_its_neighbours_alone(kind: type) -> None:
    ring, device = sender(8)
    batch = [kind(bytes([number]) * (1518 + number)) for number in range(7)]
    assert ring.put(batch) == 7
    assert list(device.transmit(ring.tail)) == batch


def test_a_full_ring_takes_no_more_until_the_device_reports() -> None:
    ring, device = sender(64)
    batch = [bytes([number]) * 60 for number in range(100)]
    assert ring.put(batch) == 63
    assert ring.put(batch) == 0
    assert not ring.idle
    assert len(list(device.transmit(ring.tail, 15))) == 15
    assert ring.put(batch) == 0  # the report comes with the sixteenth
    assert len(list(device.transmit(ring.tail, 1))) == 1
    assert ring.put(batch) == 16
    assert ring.put([]) == 0
    assert len(list(device.transmit(ring.tail))) == 63
    assert ring.idle


@given(
    size=sizes,
    steps=st.lists(
        st.tuples(frames, st.integers(1, 70), st.booleans()), min_size=1, max_size=20
    ),
)
def test_what_is_received_is_taken_in_order(
    size: int, steps: list[tuple[list[bytes], int, bool]]
) -> None:
    """In batches that are lent for a while, or longer; the rest waits outside."""
    ring, device = receiver(size)
    outside: deque[bytes] = deque()
    lent: list[tuple[memoryview, bytes]] = []
    expected: deque[bytes] = deque()
    for arriving, limit, keep in [*steps, ([], 70, False)]:
        outside += arriving
        while outside and device.receive(outside[0], ring.tail):
            expected.append(outside.popleft())
        if not keep:
            assert all(view == frame for view, frame in lent)
            lent.clear()
            ring.give_back()
        views = ring.take(limit)
        assert len(views) <= limit
        assert bool(views) or not expected
        for view in views:
            frame = expected.popleft()
            assert view == frame
            lent.append((view, frame))
        assert ring.waiting == bool(expected)
    assert ring.dropped == 0


def test_a_ring_is_used_many_times_round() -> None:
    ring, device = receiver(8)
    for number in range(1000):
        frame = bytes([number % 256]) * (14 + number % 1505)
        assert device.receive(frame, ring.tail)
        (view,) = ring.take(64)
        assert view == frame
        assert ring.give_back()
        assert not ring.give_back()
    assert ring.take(64) == []
    count = 0
    while device.receive(bytes(60), ring.tail):
        count += 1
    assert count == 7


def test_a_lent_frame_stays_as_it_is() -> None:
    ring, device = receiver(8)
    assert device.receive(b"first frame...", ring.tail)
    (view,) = ring.take(1)
    for _ in range(20):  # no more than the ring has room for
        device.receive(b"another frame...", ring.tail)
        ring.take(64)
    assert bytes(view) == b"first frame..."
    assert device.head == 7


@pytest.mark.parametrize("error", [0x01, 0x02, 0x04, 0x10, 0x80])
def test_frames_with_errors_are_dropped(error: int) -> None:
    ring, device = receiver(8)
    device.receive(b"damaged frame..", ring.tail, errors=error)
    device.receive(b"short", ring.tail)
    device.receive(b"a good frame....", ring.tail, errors=0x60)  # checksums: ours
    assert ring.take(64) == [b"a good frame...."]
    assert ring.dropped == 2
    assert ring.give_back()


@pytest.mark.parametrize(
    ("length", "status", "text"),
    [
        (2049, DD | EOP, "descriptor 1 has length 2049 and status 0x03"),
        (65535, DD | EOP, "descriptor 1 has length 65535"),
        (2048, DD, "length 2048 and status 0x01"),
        (0, DD, "length 0 and status 0x01"),
    ],
)
def test_descriptors_that_cannot_be(length: int, status: int, text: str) -> None:
    ring, device = receiver(8)
    device.receive(b"a good frame....", ring.tail)
    device.receive(b"a bad one", ring.tail, status=status)
    struct.pack_into("<H", device.area, DESCRIPTOR + 8, length)
    assert ring.take(64) == [b"a good frame...."]
    for _ in range(2):
        with pytest.raises(CorruptError, match=text) as caught:
            ring.take(64)
    assert "open it again" in caught.value.remedy


def test_a_descriptor_that_the_device_does_not_own_is_not_looked_at() -> None:
    """Even if the device has written to it."""
    ring, device = receiver(8)
    for place in range(8):
        struct.pack_into("<HHB", device.area, place * DESCRIPTOR + 8, 60, 0, DD | EOP)
    taken = 0
    for _ in range(20):
        taken += len(ring.take(64))
    assert taken == 7
    assert not ring.waiting
    assert ring.give_back()
    assert len(ring.take(64)) == 1  # the one that it was given in return


@given(noise=st.binary(min_size=128, max_size=128), limit=st.integers(1, 100))
def test_no_descriptors_make_frames_from_elsewhere(noise: bytes, limit: int) -> None:
    """A device that writes anything to all of them, and owns none."""
    ring, device = receiver(8)
    inside = memory(8)
    for _ in range(4):
        device.area[:128] = noise
        try:
            views = ring.take(limit)
        except CorruptError:
            return
        assert len(views) <= min(limit, 7)
        assert all(14 <= len(view) <= SLOT for view in views)
        ring.give_back()
    assert len(device.area) == inside


@given(noise=st.binary(min_size=128, max_size=128))
def test_reports_that_were_not_asked_for_make_no_room_that_is_not_there(
    noise: bytes,
) -> None:
    ring, device = sender(8)
    for _ in range(10):
        assert ring.put([bytes(60)] * 20) <= 7
        device.area[:128] = noise
        assert 0 <= ring.tail < 8
