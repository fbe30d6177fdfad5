"""The indices of netmap rings, and what of them is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError, UnsupportedError
from rumphyper.ring.netmap_fill import Filler
from rumphyper.ring.netmap_frames import copy_in, copy_out, lengths, views
from rumphyper.ring.netmap_swap import swapper
from tests.ring.netmap_kernel import BUF, Memory
from tests.ring.netmap_support import open_ring, pair


@given(data=st.data(), slots=st.integers(2, 9))
def test_slots_are_counted_and_given_back_in_any_steps(
    data: st.DataObject, slots: int
) -> None:
    kernel, ring, *_ = pair(slots)
    used = held = 0
    for _ in range(data.draw(st.integers(1, 40))):
        limit = data.draw(st.integers(0, slots))
        free = slots - 1 - used - held
        assert ring.available() == free
        match data.draw(st.sampled_from(["advance", "hold", "release", "sync"])):
            case "advance":
                assert ring.advance(limit) == min(limit, free)
                used, held = used + held + min(limit, free), 0
            case "hold":
                assert ring.hold(limit) == min(limit, free)
                held += min(limit, free)
            case "release":
                ring.release()
                used, held = used + held, 0
            case _:
                kernel.send()
                used = 0
    kernel.send()
    assert kernel.resets == 0


def test_a_ring_gives_exactly_as_many_slots_as_asked() -> None:
    kernel, ring, *_ = pair(4)
    ring.take(2)
    with pytest.raises(ValueError, match="2 slots are not available"):
        ring.take(2)
    assert len(kernel.send()) == 2


def test_a_reset_by_the_kernel_is_noticed_and_can_be_gone_on_from() -> None:
    kernel, ring, *_ = pair(8)
    copy_in(ring, [b"a", b"b"])
    kernel.put(0, 99999, 1, 0)
    assert kernel.send() == []
    assert kernel.resets == 1
    for call in (ring.available, lambda: ring.advance(1), lambda: copy_in(ring, [b""])):
        with pytest.raises(
            CorruptError, match=r"left at 2 and 2 and are 0 and 0.*reset"
        ):
            call()
    ring.resume()
    kernel.put(0, 2, 0, 0)
    assert copy_in(ring, [b"c"]) == 1
    assert kernel.send() == [b"c"]


def test_a_forward_notices_indices_that_another_process_moved() -> None:
    memory = Memory()
    rx, tx = memory.new_ring(8, 1), memory.new_ring(8, 0)
    forward = swapper(open_ring(rx), open_ring(tx))
    rx.receive([b"a", b"b", b"c"])
    tx.set_indices(3, 3, 7)
    with pytest.raises(CorruptError, match="left at 0 and 0 and are 3 and 3"):
        forward(1)


@pytest.mark.parametrize("tail", [8, 9, 1 << 31])
def test_a_tail_out_of_range_is_refused(tail: int) -> None:
    memory = Memory()
    rx, tx = memory.new_ring(8, 1), memory.new_ring(8, 0)
    source, target = open_ring(rx), open_ring(tx)
    forward = swapper(source, target)
    rx.set_indices(0, 0, tail)
    for call in (source.available, lambda: source.advance(1), lambda: forward(1)):
        with pytest.raises(CorruptError, match=f"tail is {tail}"):
            call()


@pytest.mark.parametrize("index", [0, 1, 512, 1 << 31])
def test_a_buffer_that_is_not_there_is_not_opened(index: int) -> None:
    kernel_tx, tx, kernel_rx, rx = pair()
    kernel_rx.receive([b"a", b"b"])
    kernel_rx.put(1, index, 1, 0)
    kernel_tx.put(1, index, 1, 0)
    octets = memoryview(rx.memory)
    for call in (
        lambda: copy_out(rx, 2),
        lambda: views(rx, octets, 2),
        lambda: lengths(rx, 2),
        lambda: copy_in(tx, [b"a", b"b"]),
        lambda: Filler(tx, b"a").send(2),
    ):
        with pytest.raises(
            CorruptError, match=f"slot 1 of the batch has buffer {index}"
        ):
            call()
    assert copy_out(rx, 1) == [b"a"]


def test_a_length_beyond_the_buffer_is_refused() -> None:
    *_, kernel, ring = pair()
    kernel.receive([b"a"])
    kernel.put(0, 20, BUF + 1, 0)
    with pytest.raises(CorruptError, match="length 257, a buffer has 256 octets"):
        copy_out(ring, 1)


def test_a_frame_without_an_end_is_refused() -> None:
    *_, kernel, ring = pair(128)
    kernel.receive([b"a"] * 127)
    for number in range(127):
        kernel.put(number, kernel.slot(number)[0], 1, 0x20)
    with pytest.raises(CorruptError, match="slots of a frame is 64 and more"):
        copy_out(ring, 9)


@pytest.mark.parametrize(
    ("offset", "form", "value", "field"),
    [
        (0, "q", -(1 << 40), "buf_ofs"),
        (0, "q", 1 << 40, "buf_ofs"),
        (8, "I", 0, "num_slots"),
        (8, "I", 1 << 31, "num_slots"),
        (8, "I", 1 << 19, "num_slots"),
        (12, "I", 0, "buf_size"),
        (12, "I", 1 << 20, "buf_size"),
        (20, "I", 8, "head"),
        (24, "I", 1 << 31, "head, cur"),
        (28, "I", 8, "head, cur and tail"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(
    offset: int, form: str, value: int, field: str
) -> None:
    kernel = Memory().new_ring(8, 0)
    struct.pack_into(f"={form}", kernel.memory.map, kernel.at + offset, value)
    with pytest.raises(CorruptError, match=field):
        open_ring(kernel)
    kernel.memory.map.close()  # nothing of it is still held


def test_frames_that_do_not_start_with_their_buffers_are_refused() -> None:
    kernel, *_ = pair()
    struct.pack_into("=Q", kernel.memory.map, kernel.at + 56, 0xFF)
    with pytest.raises(UnsupportedError, match="OPT_OFFSETS"):
        open_ring(kernel)
