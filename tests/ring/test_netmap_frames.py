"""Frames in and out of netmap rings, over a kernel that resets who breaks its rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import FrameError
from rumphyper.ring.netmap_frames import copy_in, copy_out, lengths, point, views
from tests.ring.netmap_kernel import BUF, INDIRECT
from tests.ring.netmap_support import FRAMES, SHORT, pair


@given(batches=st.lists(FRAMES, max_size=8), slots=st.integers(2, 17))
def test_frames_that_are_copied_in_are_sent_as_they_are(
    batches: list[list[bytes]], slots: int
) -> None:
    kernel, ring, *_ = pair(slots)
    for frames in batches:
        room = slots - 1
        fits = 0
        for frame in frames:
            room -= -(-len(frame) // BUF)
            if room < 0:
                break
            fits += 1
        assert copy_in(ring, frames) == fits
        assert kernel.send() == frames[:fits]
    assert kernel.resets == 0


@given(
    batches=st.lists(FRAMES, max_size=8), slots=st.integers(4, 17), limit=st.integers(1)
)
def test_frames_that_arrive_are_copied_out_in_order(
    batches: list[list[bytes]], slots: int, limit: int
) -> None:
    *_, kernel, ring = pair(slots)
    for frames in batches:
        dropped = kernel.dropped
        kernel.receive(frames)
        got: list[bytes] = []
        while some := copy_out(ring, limit):
            assert len(some) <= limit
            got += some
            kernel.receive()
        # What has no room the kernel drops, whole frames each.
        assert len(got) == len(frames) - (kernel.dropped - dropped)
        rest = iter(frames)
        assert all(frame in rest for frame in got)
    assert kernel.resets == 0


@given(frames=SHORT, count=st.integers(1, 12))
def test_views_are_lent_until_the_slots_are_given_back(
    frames: list[bytes], count: int
) -> None:
    *_, kernel, ring = pair(16)
    octets = memoryview(ring.memory).toreadonly()
    kernel.receive(frames)
    assert lengths(ring, count) == [len(frame) for frame in frames[:count]]
    lent = views(ring, octets, count)
    assert [bytes(view) for view in lent] == frames[:count]
    assert all(view.readonly for view in lent)
    room = 15 - len(frames)
    kernel.receive([b"more"] * 20)  # goes into slots that nobody has in use
    assert kernel.dropped == 20 - room
    assert [bytes(view) for view in lent] == frames[:count]
    ring.release()
    kernel.receive([b"last"] * 20)
    assert kernel.dropped == 20 - room + 20 - len(lent)
    assert kernel.resets == 0


def test_a_frame_of_several_slots_ends_a_batch_of_views() -> None:
    *_, kernel, ring = pair(16)
    octets = memoryview(ring.memory)
    long = bytes(range(256)) * 2
    kernel.receive([b"one", long, b"two"])
    assert [bytes(view) for view in views(ring, octets, 9)] == [b"one"]
    ring.release()
    assert views(ring, octets, 9) == []
    assert copy_out(ring, 1) == [long]
    assert copy_out(ring, 9) == [b"two"]


def test_a_frame_that_is_not_all_there_stays() -> None:
    *_, kernel, ring = pair(16)
    kernel.receive([bytes(BUF * 3)])
    head, cur, _ = kernel.indices()
    kernel.set_indices(head, cur, 2)  # as a pipe shows it that is being filled
    assert copy_out(ring, 9) == []
    kernel.set_indices(head, cur, 3)
    assert copy_out(ring, 9) == [bytes(BUF * 3)]


def test_frames_may_be_of_any_buffer_type() -> None:
    kernel, ring, *_ = pair()
    words = memoryview(bytes(range(16))).cast("I")
    assert copy_in(ring, [bytearray(b"abc"), memoryview(b"defg")[::2], words]) == 3
    assert kernel.send() == [b"abc", b"df", bytes(range(16))]


def test_a_frame_for_more_slots_than_one_may_have_is_refused() -> None:
    kernel, ring, *_ = pair(128)
    with pytest.raises(FrameError, match="16385 octets, 64 slots hold 16384"):
        copy_in(ring, [b"short", bytes(64 * BUF + 1)])
    assert kernel.send() == []
    assert copy_in(ring, [bytes(64 * BUF)]) == 1
    assert kernel.send() == [bytes(64 * BUF)]


def test_indirect_slots_name_address_and_length_and_the_next_are_direct() -> None:
    kernel, ring, *_ = pair(4)
    assert point(ring, [(0x1234_5678_9ABC, 60), (0x42, 61)]) == 2
    _, length, flags, pointer = kernel.slot(0)
    assert (length, flags, pointer) == (60, INDIRECT, 0x1234_5678_9ABC)
    assert kernel.slot(1)[1:] == (61, INDIRECT, 0x42)
    with pytest.raises(FrameError, match="a slot holds 256"):
        point(ring, [(0x42, BUF + 1)])
    # The switch has copied them; the ring goes round.
    kernel.hwcur = kernel.rhead = 2
    kernel.hwtail = 1
    kernel.finish()
    assert copy_in(ring, [b"three", b"four", b"five"]) == 3
    assert kernel.send() == [b"three", b"four", b"five"]
