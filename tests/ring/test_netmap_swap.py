"""Forwarding between netmap rings: no buffer is lost or doubled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError, LinkError
from rumphyper.ring.netmap_fill import Filler
from rumphyper.ring.netmap_frames import copy_in, copy_out
from rumphyper.ring.netmap_slots import Limits
from rumphyper.ring.netmap_swap import swapper
from tests.ring.netmap_kernel import BUF, SLOT, Memory, Pipe
from tests.ring.netmap_support import FRAMES, SHORT, buffers_of, open_ring, pair


@given(
    data=st.data(),
    rx_slots=st.integers(2, 20),
    tx_slots=st.integers(2, 20),
    exact=st.booleans(),
    vale=st.booleans(),
)
def test_a_forward_moves_buffers_and_loses_and_doubles_none(
    data: st.DataObject, rx_slots: int, tx_slots: int, exact: bool, vale: bool
) -> None:
    memory = Memory()
    rx, tx = memory.new_ring(rx_slots, 1), memory.new_ring(tx_slots, 0)
    source, target = open_ring(rx), open_ring(tx, vale=vale)
    forward = swapper(source, target, exact=exact)
    before = buffers_of(rx, tx)
    assert max(before.values()) == 1
    waiting: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 12))):
        frames = data.draw(SHORT)
        dropped = rx.dropped
        rx.receive(frames)
        waiting += frames[: len(frames) - (rx.dropped - dropped)]
        count = forward(data.draw(st.integers(0, 24)))
        for number in range(tx.slots):  # what is to be sent names no port
            assert not vale or tx.slot(number)[2] >> 8 == 0
        assert tx.send() == waiting[:count]
        del waiting[:count]
    assert buffers_of(rx, tx) == before
    assert (rx.resets, tx.resets) == (0, 0)


@given(frames=FRAMES)
def test_a_forward_keeps_the_fragments_of_frames_together(
    frames: list[bytes],
) -> None:
    memory = Memory()
    rx, tx = memory.new_ring(64, 1), memory.new_ring(64, 0)
    rx.receive(frames)
    forward = swapper(open_ring(rx), open_ring(tx))
    assert forward(64) == sum(-(-len(frame) // BUF) for frame in frames)
    assert tx.send() == frames


def test_forwarded_slots_are_marked_as_changed_on_both_sides() -> None:
    memory = Memory()
    rx, tx = memory.new_ring(4, 1), memory.new_ring(4, 0)
    rx.receive([b"a", b"b"])
    assert swapper(open_ring(rx), open_ring(tx))(2) == 2
    assert [rx.slot(n)[2] & 0xFF for n in range(3)] == [1, 1, 0]
    assert [tx.slot(n)[2] & 0xFF for n in range(3)] == [1, 1, 0]


def test_a_forward_between_regions_is_refused() -> None:
    rx, tx = Memory().new_ring(4, 1), Memory().new_ring(4, 0)
    with pytest.raises(LinkError, match="different memory regions"):
        swapper(open_ring(rx), open_ring(tx))
    with pytest.raises(ValueError, match="from an rx ring to a tx ring"):
        swapper(open_ring(tx), open_ring(tx))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("index", "length"), [(5, BUF + 1), (5, 0xFFFF), (1 << 16, 60), (0x40_0005, 60)]
)
def test_a_forward_refuses_a_slot_out_of_range(
    exact: bool, index: int, length: int
) -> None:
    memory = Memory()
    rx, tx = memory.new_ring(8, 1), memory.new_ring(8, 0)
    source, target = open_ring(rx), open_ring(tx)
    rx.receive([b"a", b"b", b"c"])
    rx.put(1, index, length, 0)
    with pytest.raises(CorruptError, match=r"slot 1 of the batch has (buffer|length)"):
        swapper(source, target, exact=exact)(8)
    assert tx.send() == []
    assert tx.resets == 0


@pytest.mark.parametrize("index", [0, 1, 512, 600, 1 << 31])
def test_an_exact_forward_refuses_every_buffer_that_is_not_there(index: int) -> None:
    memory = Memory()
    rx, tx = memory.new_ring(8, 1), memory.new_ring(8, 0)
    rx.receive([b"a", b"b"])
    rx.put(0, index, 1, 0)
    forward = swapper(open_ring(rx), open_ring(tx), exact=True)
    with pytest.raises(CorruptError, match=f"buffer {index}, there are 2 to 511"):
        forward(8)


@given(data=st.data(), buffers=st.sampled_from([5, 512, 600, 1 << 16, 163840, 1 << 25]))
def test_columns_tell_of_numbers_what_the_numbers_tell(
    data: st.DataObject, buffers: int
) -> None:
    near = st.sampled_from([0, 256, 1 << 16, 1 << 24, buffers, 1 << 32])
    index = st.builds(lambda at, by: (at + by) % (1 << 32), near, st.integers(-3, 3))
    indices = data.draw(st.lists(index | st.integers(0, buffers), min_size=1))
    frames = b"".join(SLOT.pack(number, 60, 0, 0) for number in indices)
    limits = Limits("ring", buffers, BUF)
    wrong = [n for n in indices if not 2 <= n < buffers]
    if not wrong:
        limits.check_numbers(frames, bytes(len(indices)))
        return
    with pytest.raises(CorruptError, match=f"has buffer {wrong[0]},"):
        limits.check_numbers(frames, bytes(len(indices)))


@pytest.mark.parametrize("tail", [8, 0xFFFFFFFF])
def test_a_forward_refuses_a_tail_that_is_behind_the_ring(tail: int) -> None:
    for way in (1, 0):
        memory = Memory()
        rx, tx = memory.new_ring(8, 1), memory.new_ring(8, 0)
        rx.receive([b"a", b"b"])
        source, target = open_ring(rx), open_ring(tx)
        forward = swapper(source, target)
        assert forward(1) == 1
        broken = rx if way else tx
        broken.set_indices(1, 1, tail)
        with pytest.raises(CorruptError, match=f"tail is {tail}"):
            forward(8)


# -- pipes: back-pressure, buffers that the other side changes ------------------------


@given(data=st.data(), slots=st.integers(2, 12))
def test_a_pipe_loses_nothing_and_pushes_back(data: st.DataObject, slots: int) -> None:
    kernel_tx, tx, kernel_rx, rx = pair(slots)
    pipe = Pipe(kernel_tx, kernel_rx)
    sent: list[bytes] = []
    got: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 20))):
        frames = data.draw(SHORT)
        taken = copy_in(tx, frames)
        assert taken == min(len(frames), slots - 1 - (len(sent) - len(got)))
        sent += frames[:taken]
        pipe.txsync()
        pipe.rxsync()
        got += copy_out(rx, data.draw(st.integers(1, 12)))
        pipe.rxsync()
        pipe.txsync()
        assert got == sent[: len(got)]
    assert (kernel_tx.resets, kernel_rx.resets) == (0, 0)


@given(data=st.data(), slots=st.integers(3, 12), swaps=st.booleans())
def test_a_filled_ring_sends_its_frame_though_the_far_end_swaps_buffers(
    data: st.DataObject, slots: int, swaps: bool
) -> None:
    memory = Memory()
    kernel_tx, kernel_rx = memory.new_ring(slots, 0), memory.new_ring(slots, 1)
    pipe = Pipe(kernel_tx, kernel_rx)
    out = memory.new_ring(slots, 0)
    tx, rx, away = open_ring(kernel_tx), open_ring(kernel_rx), open_ring(out)
    forward = swapper(rx, away, exact=True)
    filler = Filler(tx, b"the frame")
    got = 0
    for _ in range(data.draw(st.integers(1, 30))):
        filler.send(data.draw(st.integers(1, slots)))
        pipe.txsync()
        pipe.rxsync()
        limit = data.draw(st.integers(1, slots))
        if swaps:
            moved = forward(limit)
            frames = out.send()
            assert len(frames) == moved
            for number in range(slots):  # what was sent is written over
                at = memory.buffer(out.slot(number)[0])
                memory.map[at : at + 9] = b"scribbles"
        else:
            frames = copy_out(rx, limit)
        got += len(frames)
        assert set(frames) <= {b"the frame"}
        pipe.rxsync()
        pipe.txsync()
    assert got
    assert (kernel_tx.resets, kernel_rx.resets, out.resets) == (0, 0, 0)
