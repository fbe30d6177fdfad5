"""From TAP to TAP without a copy: what arrives is what was sent, in order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from rumphyper.errors import LinkEndedError, LinkError
from rumphyper.link.tap import TapLink, open_tap
from rumphyper.link.tap_forward import Slots, SlotWriter
from tests.link.tap_support import (
    arrivals,
    frame,
    ip,
    open_fds,
    open_io,
    packet_socket,
    until,
)
from tests.namespace import isolated

batches = pytest.mark.parametrize("io", ["uring", "walk"])


@contextlib.contextmanager
def two(
    io: str, **options: int
) -> Iterator[tuple[TapLink, TapLink, Slots, SlotWriter]]:
    """A pair of TAPs, the slots of one and what sends them by the other."""
    before = open_fds()
    with open_io("t0", io, **options) as one, open_io("t1", io) as other:
        slots = Slots(one)
        writer = SlotWriter(slots, other)
        try:
            yield one, other, slots, writer
        finally:
            writer.close()
            writer.close()
            slots.close()
    assert open_fds() == before


@batches
@isolated
def test_frames_of_any_sizes(io: str) -> None:
    chance = random.Random(4)
    with two(io) as (one, other, slots, writer):
        with packet_socket("t0") as left, packet_socket("t1") as right:
            for alike in (True, False) * 10:
                size = chance.randint(0, 1500)
                sent = [
                    frame(chance.randbytes(size if alike else chance.randint(0, 1500)))
                    for _ in range(chance.randint(1, 300))
                ]
                for octets in sent:
                    left.send(octets)
                heads, copies, left_over = [], [], len(sent)
                while left_over:
                    assert slots.read(200) is None
                    heads += slots.heads(13)
                    copies += slots.copies()
                    assert slots.copies(1) == slots.copies()[1:]
                    same = slots.same_head()
                    firsts = {octets[:16] for octets in slots.copies()}
                    if all(length >= 16 for length in slots.sizes):
                        assert same == (firsts.pop() if len(firsts) == 1 else None)
                    assert writer.send() == len(slots.sizes)
                    left_over -= len(slots.sizes)
                assert copies == sent
                assert heads == [octets[:13] for octets in sent]
                assert arrivals(right, len(sent)) == sent
        assert slots.read(9) is None
        assert slots.sizes == []
        assert one.counters.received == other.counters.sent > 200
        assert one.counters.received_bytes == other.counters.sent_bytes


@batches
@isolated
def test_a_frame_that_was_cut_off_is_left_out(io: str) -> None:
    with two(io) as (one, _, slots, _writer), packet_socket("t0") as left:
        ip("link", "set", "t0", "mtu", "9000")
        sent = [frame(bytes([n]) * size) for n, size in enumerate((9, 8000, 70, 9))]
        for octets in sent:
            left.send(octets)
        got: list[bytes] = []
        while len(got) < 3:
            copies = slots.read(50)
            got += slots.copies() if copies is None else copies
        assert got == [sent[0], sent[2], sent[3]]
        assert one.counters.dropped == 1


@batches
@isolated
def test_a_frame_that_is_too_long_for_the_second(io: str) -> None:
    with two(io, mtu=9000) as (_, other, slots, writer), packet_socket("t0") as left:
        left.send(frame(bytes(8000)))
        left.send(frame(bytes(80)))
        slots.read(2)
        assert writer.send() is None
        assert other.counters.sent == 0
        assert [len(octets) for octets in slots.copies()] == [8014, 94]


@batches
@isolated
def test_ends_that_go(io: str) -> None:
    with two(io) as (_, other, slots, writer):
        with packet_socket("t0") as left:
            left.send(frame(bytes(80)))
            slots.read(2)
        ip("link", "set", "t1", "down")
        with pytest.raises(LinkError, match="the interface is down"):
            writer.send()
        ip("link", "set", "t1", "up")
        assert writer.send() == 1
        ip("link", "del", "t1")
        with pytest.raises(LinkEndedError, match="deleted"):
            writer.send()
        ip("link", "del", "t0")
        with pytest.raises(LinkEndedError, match="deleted"):
            slots.read(2)
        assert until(lambda: other.counters.sent == 1)


@batches
@isolated
def test_links_that_have_no_batches(io: str) -> None:
    with open_tap("t2", io="plain") as plain, two(io) as (_, _, slots, _writer):
        with pytest.raises(LinkError, match="in batches"):
            Slots(plain)
        with pytest.raises(LinkError, match="in batches"):
            SlotWriter(slots, plain)


@isolated
def test_from_one_kind_of_batches_to_the_other() -> None:
    for io, there in (("walk", "uring"), ("uring", "walk")):
        with open_io("t0", io) as one, open_io("t1", there) as other:
            slots = Slots(one)
            writer = SlotWriter(slots, other)
            with packet_socket("t0") as left, packet_socket("t1") as right:
                sent = [frame(bytes([n]) * (40 + n)) for n in range(50)]
                for octets in sent:
                    left.send(octets)
                moved = 0
                while moved < len(sent):
                    assert slots.read(50) is None
                    assert writer.send() == slots.count > 0
                    moved += slots.count
                assert arrivals(right, len(sent)) == sent
            writer.close()
            slots.close()
