"""The stream of the syscall proxy: any octets, in any pieces."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.decoder import Decoder
from rumphyper.hypercalls.proxy.frames import HEADER, Bounds, Frame

DIRECTIONS = (frames.TO_SERVER, frames.TO_CLIENT)
U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)


@st.composite
def rightful(draw: st.DrawFn, bounds: Bounds) -> Frame:
    """Any frame that may come."""
    cls, kind = draw(st.sampled_from(sorted(bounds)))
    low, high = bounds[cls, kind]
    body = draw(st.binary(min_size=low, max_size=min(high, 200)))
    return Frame(draw(U64), cls, kind, draw(U32), body)


def pieces(octets: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``octets`` cut at ``cuts``, some pieces empty."""
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(places)]


def read(decoder: Decoder, parts: list[bytes]) -> tuple[list[Frame], str]:
    """The frames of a stream, and the error that ended it."""
    found = []
    try:
        for part in parts:
            decoder.feed(part)
            while (frame := decoder.next()) is not None:
                found.append(frame)
    except ProtocolError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("bounds", DIRECTIONS, ids=["to server", "to client"])
@given(data=st.data(), cuts=st.lists(U32, max_size=8))
def test_frames_come_out_as_they_went_in(
    bounds: Bounds, data: st.DataObject, cuts: list[int]
) -> None:
    sent = data.draw(st.lists(rightful(bounds), max_size=6))
    stream = b"".join(frames.pack(*frame) for frame in sent)
    decoder = Decoder(bounds)
    assert read(decoder, pieces(stream, cuts)) == (sent, "")
    assert decoder.pending == 0


@pytest.mark.parametrize("bounds", DIRECTIONS, ids=["to server", "to client"])
@given(data=st.data(), cuts=st.lists(U32, max_size=8))
def test_a_spoilt_stream_gives_the_same_however_it_arrives(
    bounds: Bounds, data: st.DataObject, cuts: list[int]
) -> None:
    sent = data.draw(st.lists(rightful(bounds), min_size=1, max_size=4))
    stream = bytearray(b"".join(frames.pack(*frame) for frame in sent))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
    octets = bytes(stream)
    at_once = read(Decoder(bounds), [octets])
    assert read(Decoder(bounds), pieces(octets, cuts)) == at_once
    for frame in at_once[0]:
        low, high = bounds[frame.cls, frame.type]
        assert low <= len(frame.body) <= high


@given(octets=st.binary(max_size=300))
def test_noise_is_refused_or_waited_for(octets: bytes) -> None:
    for bounds in DIRECTIONS:
        decoder = Decoder(bounds)
        found, error = read(decoder, [octets])
        used = sum(HEADER.size + len(frame.body) for frame in found)
        if not error:
            assert decoder.pending == len(octets) - used


@pytest.mark.parametrize(
    "length", [0, 1, 23, 24, 1 << 32, (1 << 32) + 48, (1 << 63) + 40, (1 << 64) - 1]
)
def test_a_wrong_length_is_refused_with_the_header(length: int) -> None:
    header = HEADER.pack(length, 1, frames.RESP, frames.SYSCALL, 0)
    decoder = Decoder(frames.TO_CLIENT)
    decoder.feed(header[:-1])
    assert decoder.next() is None
    decoder.feed(header[-1:])
    with pytest.raises(ProtocolError, match=f"{length} octets, not 48"):
        decoder.next()
    with pytest.raises(ProtocolError):
        decoder.next()


@pytest.mark.parametrize(
    ("cls", "kind", "word"),
    [
        (3, frames.SYSCALL, "SYSCALL of class 3"),
        (frames.REQ, 9, "type 9 request"),
        (frames.REQ, 0xFFFF, "type 65535 request"),
        (frames.REQ, frames.SYSCALL, "SYSCALL request"),
        (frames.RESP, frames.COPYOUT, "COPYOUT response"),
    ],
)
def test_a_frame_that_may_not_come_is_named(cls: int, kind: int, word: str) -> None:
    decoder = Decoder(frames.TO_CLIENT)
    decoder.feed(frames.pack(1, cls, kind, 0, bytes(64)))
    with pytest.raises(ProtocolError, match=f"{word}: no frame"):
        decoder.next()


def test_the_limit_of_a_body_is_stated() -> None:
    decoder = Decoder(frames.TO_CLIENT, limit=1000)
    decoder.feed(frames.pack(1, frames.REQ, frames.COPYOUT, 0, bytes(1000)))
    assert decoder.next() is not None
    decoder.feed(HEADER.pack(1025, 1, frames.REQ, frames.COPYOUT, 0))
    with pytest.raises(ProtocolError, match="1025 octets, not 40 to 1024"):
        decoder.next()


def test_frames_before_a_wrong_one_still_count() -> None:
    good = frames.pack(7, frames.REQ, frames.RAISE, 2)
    decoder = Decoder(frames.TO_CLIENT)
    decoder.feed(good + bytes(HEADER.size))
    assert decoder.next() == Frame(7, frames.REQ, frames.RAISE, 2, b"")
    with pytest.raises(ProtocolError):
        decoder.next()


def test_an_incomplete_frame_is_seen_at_the_end() -> None:
    decoder = Decoder(frames.TO_SERVER)
    decoder.feed(frames.pack(1, frames.REQ, frames.SYSCALL, 20, bytes(16))[:-1])
    assert decoder.next() is None
    assert decoder.pending == HEADER.size + 15
