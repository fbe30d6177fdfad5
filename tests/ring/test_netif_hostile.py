"""Xen's rings with a peer that breaks every rule."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.ring import netif_abi as abi
from tests.ring.netif_support import Vif


def sending() -> Vif:
    """Three requests of the front end's are on their way."""
    vif = Vif()
    assert vif.tx.send([bytes(60)] * 3) == 3
    vif.tx.ring.push()
    return vif


def lending() -> Vif:
    """The front end has lent all its pages."""
    vif = Vif()
    vif.rx.post()
    vif.rx.ring.push()
    return vif


@pytest.mark.parametrize("index", [4, 9, 2**31, 2**32 - 1])
def test_an_index_beyond_what_was_asked_is_refused(index: int) -> None:
    vif = sending()
    struct.pack_into("=I", vif.tx_page, abi.RSP_PROD, index)
    with pytest.raises(
        CorruptError, match=rf"vif/0 tx: rsp_prod is {index}: at most 3"
    ):
        vif.tx.collect()
    vif = lending()
    struct.pack_into("=I", vif.rx_page, abi.REQ_PROD, max(9, index))
    with pytest.raises(CorruptError, match=r"req_prod is \d+: at most 8 were"):
        vif.rx_back.lent(1)


@pytest.mark.parametrize(
    ("ids", "named"), [([0, 0], "0"), ([1, 7], "7"), ([65535], "65535"), ([2, 2], "2")]
)
def test_responses_to_nothing_or_twice_are_refused(ids: list[int], named: str) -> None:
    vif = sending()
    vif.tx_back.take(9)
    vif.tx_back.respond(ids, [0] * len(ids))
    vif.tx_back.ring.push()
    with pytest.raises(CorruptError, match=f"id of a response is {named}"):
        vif.tx.collect()
    vif = lending()
    for number in range(7):  # so that 7 is not in flight
        vif.rx_back.respond([((number + 7) % 8, 0, 0, 60)])
    vif.rx_back.ring.push()
    vif.rx.take(9)
    vif.rx_back.respond([(65535 if ids == [65535] else 7, 0, 0, 60)])
    vif.rx_back.ring.push()
    with pytest.raises(CorruptError, match="id of a response is"):
        vif.rx.take(9)


def test_a_status_that_does_not_exist_is_refused() -> None:
    vif = sending()
    vif.tx_back.take(9)
    vif.tx_back.respond([0], [-77])
    vif.tx_back.ring.push()
    with pytest.raises(CorruptError, match="status is -77"):
        vif.tx.collect()


@pytest.mark.parametrize(
    ("offset", "flags", "status", "named"),
    [
        (4000, 0, 97, r"offset \+ size is 4000 \+ 97"),
        (65535, 0, 1, r"65535 \+ 1"),
        (5000, 0, -1, r"5000 \+ -1"),
        (0, abi.RX_EXTRA_INFO, 60, "flags is 0x8"),
    ],
)
def test_receiving_never_leaves_a_page(
    offset: int, flags: int, status: int, named: str
) -> None:
    vif = lending()
    vif.rx_back.respond([(0, offset, flags, status)])
    vif.rx_back.ring.push()
    with pytest.raises(CorruptError, match=named):
        vif.rx.take(9)


def test_frames_without_an_end_are_refused() -> None:
    vif = Vif(slots=32, rx_pages=32)
    vif.rx.post()
    vif.rx.ring.push()
    more = [(number, 0, abi.RX_MORE_DATA, 60) for number in range(20)]
    vif.rx_back.respond(more)
    vif.rx_back.ring.push()
    with pytest.raises(CorruptError, match="entries of a frame is 19"):
        vif.rx.take(9)


@pytest.mark.parametrize(
    ("requests", "named"),
    [
        ([(1, 4000, 0, 0, 97)], r"4000 \+ 97"),
        ([(1, 0, 0, 0, 0)], r"0 \+ 0"),
        ([(1, 0, 4, 0, 100), (2, 0, 0, 1, 100)], r"0 \+ 0"),
        ([(1, 0, 4, 0, 50), (2, 0, 0, 1, 100)], r"0 \+ -50"),
        ([(1, 0, 4, 0, 9000), (2, 0, 0, 1, 100)], r"0 \+ 8900"),
        ([(1, 0, 4, 0, 100)], "entries of a frame is 1"),
        ([(1, 0, 8, 0, 100), (0, 0, 0, 0, 0)], "flags is 0x8"),
        ([(1, 0, 4, 0, 4000)] + [(2, 0, 4, 1, 1)] * 18, "entries of a frame is 19"),
    ],
)
def test_requests_that_do_not_add_up_are_refused(
    requests: list[tuple[int, ...]], named: str
) -> None:
    vif = Vif(slots=32)
    for number, request in enumerate(requests):
        at = abi.ENTRIES + number * abi.TX_ENTRY
        struct.pack_into("=IHHHH", vif.tx_page, at, *request)
    struct.pack_into("=I", vif.tx_page, abi.REQ_PROD, len(requests))
    with pytest.raises(CorruptError, match=named):
        vif.tx_back.take(9)


@given(
    noise=st.binary(min_size=512, max_size=512),
    indices=st.lists(
        st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)),
        min_size=4,
        max_size=4,
    ),
)
def test_noise_in_the_pages_is_refused_or_harmless(
    noise: bytes, indices: list[int]
) -> None:
    """Whatever the peer writes, nothing but a CorruptError comes of it."""
    vif = sending()
    vif.rx.post()
    vif.rx.ring.push()
    secret = b"not for the peer"
    page = abi.PAGE
    for target in (vif.tx_page, vif.rx_page):
        target[: abi.ENTRIES] = struct.pack("=4I", *indices).ljust(abi.ENTRIES, b"\0")
        target[abi.ENTRIES : abi.ENTRIES + len(noise)] = noise
    vif.rx_pool[:] = secret.ljust(page * vif.rx_pages, b"-")
    with contextlib.suppress(CorruptError):
        vif.tx.collect()
    with contextlib.suppress(CorruptError):
        for frame in vif.rx.take(64).frames:
            assert 0 < len(frame) <= abi.MOST_OCTETS
    with contextlib.suppress(CorruptError):
        for packet in vif.tx_back.take(64):
            assert len(packet.ids) <= abi.MOST_SLOTS
            for _, offset, size in packet.segments:
                assert 0 < size <= page - offset
    with contextlib.suppress(CorruptError):
        assert len(vif.rx_back.lent(64)) <= vif.slots
