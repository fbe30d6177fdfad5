"""Xen's rings of network interfaces: both sides, over plain memory."""

from __future__ import annotations

import array
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring
from tests.ring.netif_support import Vif, memory

FRAMES = st.lists(
    st.builds(
        lambda size, fill: bytes([fill]) * size,
        st.sampled_from([14, 60, 1514, 4096, 4097, 9014, 3 * 4096]),
        st.integers(0, 255),
    ),
    max_size=6,
)


def test_the_layout_is_that_of_xens_headers() -> None:
    """Written by one side, read here at the offsets of io/ring.h and io/netif.h."""
    vif = Vif(slots=256, tx_pages=2, rx_pages=2)
    assert struct.unpack_from("=4I", vif.tx_page) == (0, 1, 0, 1)
    assert vif.tx.send([bytes(60), bytes(61)]) == 2
    assert vif.tx.ring.push()
    assert struct.unpack_from("=4I", vif.tx_page) == (2, 1, 0, 1)
    second = struct.unpack_from("=IHHHH", vif.tx_page, 64 + 12)
    assert second == (1001, 0, 0, 1, 61)
    vif.rx.post()
    assert struct.unpack_from("=HHI", vif.rx_page, 64 + 8) == (1, 0, 5001)
    (packet, _) = vif.tx_back.take(9)
    vif.tx_back.respond(packet.ids, [abi.DROPPED])
    assert struct.unpack_from("=Hh", vif.tx_page, 64) == (0, -2)
    vif.rx_back.respond([(1, 7, abi.RX_DATA_VALIDATED, 60)])
    assert struct.unpack_from("=HHHh", vif.rx_page, 64) == (1, 7, 1, 60)


@given(batches=st.lists(FRAMES, max_size=8), data=st.data())
def test_what_the_front_sends_the_back_finds(
    batches: list[list[bytes]], data: st.DataObject
) -> None:
    vif = Vif()
    sent: list[bytes] = []
    got: list[bytes] = []
    refused = asked = 0
    for frames in batches:
        kinds = [data.draw(st.sampled_from([bytes, bytearray])) for _ in frames]
        fit = vif.tx.send([kind(f) for kind, f in zip(kinds, frames, strict=True)])
        assert fit == len(frames) or vif.tx.in_flight + 3 > vif.slots
        sent += frames[:fit]
        vif.tx.ring.push()
        packets = vif.tx_back.take(data.draw(st.integers(1, 8)))
        got += [vif.content(packet) for packet in packets]
        for packet in data.draw(st.permutations(packets)):  # in any order
            status = data.draw(st.sampled_from([abi.OKAY, abi.ERROR, abi.DROPPED]))
            asked += status < 0
            vif.tx_back.respond(packet.ids, [status] * len(packet.ids))
        vif.tx_back.ring.push()
        refused += vif.tx.collect()
    assert refused == asked
    for packet in vif.tx_back.take(99):
        got.append(vif.content(packet))
        vif.tx_back.respond(packet.ids, [abi.OKAY] * len(packet.ids))
    vif.tx_back.ring.push()
    vif.tx.collect()
    assert got == sent
    assert vif.tx.in_flight == 0


@given(
    batches=st.lists(FRAMES, max_size=8),
    offset=st.sampled_from([0, 2, 256]),
    limit=st.integers(1, 5),
)
def test_what_the_back_gives_the_front_gets(
    batches: list[list[bytes]], offset: int, limit: int
) -> None:
    vif = Vif()
    for frames in batches:
        vif.rx.post()
        vif.rx.ring.push()
        fit = vif.give(frames, offset)
        vif.rx_back.ring.push()
        got: list[bytes] = []
        while some := vif.rx.take(limit).frames:
            assert len(some) <= limit
            got += some
        assert got == frames[:fit]
    vif.rx.post()
    assert vif.rx.in_flight == vif.rx_pages


def test_a_frame_that_the_back_end_gives_up_is_dropped_whole() -> None:
    vif = Vif()
    vif.rx.post()
    vif.rx.ring.push()
    entries = [
        (0, 0, abi.RX_MORE_DATA, 100),
        (1, 0, 0, abi.ERROR),
        (2, 0, 0, abi.DROPPED),
        (3, 0, abi.RX_CSUM_BLANK | abi.RX_DATA_VALIDATED, 60),
    ]
    vif.rx_back.respond(entries)
    vif.rx_back.ring.push()
    arrived = vif.rx.take(9)
    assert (arrived.frames, arrived.blank, arrived.dropped) == ([bytes(60)], [0], 2)


@given(
    steps=st.lists(st.sampled_from(["put", "look", "sleep"]), max_size=60),
    start=st.sampled_from([0, 2**32 - 3]),
)
def test_nobody_sleeps_over_news(steps: list[str], start: int) -> None:
    """Whoever armed and found nothing is notified by the next push."""
    page = memory(1)
    front = Ring(page, abi.TX_ENTRY, "front", front=True, slots=4)
    array_of = memoryview(page).cast("I")
    for place in range(0, 4, 2):
        array_of[place], array_of[place + 1] = start, (start + 1) % 2**32
    array_of.release()
    back = Ring(page, abi.TX_ENTRY, "back", front=False, slots=4)
    front.produced = front.consumed = front._pushed = start
    asleep = False
    notified = 0
    for step in steps:
        if step == "put" and front.room():
            front.put(bytes(abi.TX_ENTRY), 1)
            if front.push():
                asleep = False
                notified += 1
            else:
                assert not asleep
        elif step == "look":
            asleep = False
            count = back.available()
            back.consume(count)
            back.put(bytes(count * abi.TX_ENTRY), count)
            back.push()
            front.consume(front.available())
        elif step == "sleep" and not asleep:
            asleep = not back.arm()
    assert notified <= steps.count("sleep") + 1


def test_notifications_are_held_off_until_somebody_sleeps() -> None:
    vif = Vif(slots=256)
    assert vif.tx.send([bytes(60)]) == 1
    assert vif.tx.ring.push()  # everybody sleeps at first
    assert vif.tx.send([bytes(60)]) == 1
    assert not vif.tx.ring.push()
    assert vif.tx_back.ring.arm()
    assert len(vif.tx_back.take(9)) == 2
    assert not vif.tx_back.ring.arm(after=3)
    for wanted in (False, False, True, False):
        assert vif.tx.send([bytes(60)]) == 1
        assert vif.tx.ring.push() is wanted


def test_a_back_end_takes_up_a_ring_that_was_in_use() -> None:
    page = memory(1)
    page[:16] = array.array("I", [9, 1, 7, 1]).tobytes()
    back = Ring(page, abi.TX_ENTRY, "back", front=False)
    assert back.available() == 2


def test_a_ring_lets_go_of_its_page() -> None:
    page = memory(1)
    ring = Ring(page, abi.TX_ENTRY, "ring", front=True)
    with pytest.raises(BufferError):
        page.close()
    ring.release()
    ring.release()
    page.close()
