"""Reading what a client sends."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy import frames as f
from rumphyper.hypercalls.proxy.stream import Answer, Stream


class Pair:
    """A client's end, and the stream at the server's."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.answers: dict[int, Answer] = {}
        self.stream = Stream(self.server, self.answers)

    def read(self) -> list[f.Frame]:
        """All requests that have arrived."""
        found = []
        try:
            while True:
                frame = self.stream.next()
                if frame is not None:
                    found.append(frame)
        except BlockingIOError:
            return found

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def request(number: int, size: int) -> bytes:
    return f.pack(number, f.REQ, f.SYSCALL, number, bytes(range(size)))


@given(
    sizes=st.lists(st.integers(0, f.MAX_ARGS), max_size=8),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=40),
)
def test_cut_anywhere(sizes: list[int], cuts: list[int]) -> None:
    pair = Pair()
    octets = b"".join(request(number, size) for number, size in enumerate(sizes))
    found = []
    for cut in cuts:
        pair.client.sendall(octets[:cut])
        octets = octets[cut:]
        found += pair.read()
    pair.client.sendall(octets)
    found += pair.read()
    assert [(frame.reqno, frame.body) for frame in found] == [
        (number, bytes(range(size))) for number, size in enumerate(sizes)
    ]
    pair.close()


def test_answers_go_where_they_are_wanted(pair: Pair) -> None:
    exact, shorter = bytearray(8), bytearray(8)
    pair.answers[4] = first = Answer(f.COPYIN, memoryview(exact))
    pair.answers[5] = second = Answer(f.COPYIN, memoryview(shorter), shorter=True)
    pair.answers[6] = third = Answer(f.COPYIN, memoryview(bytearray(3)))
    pair.client.send(f.pack(5, f.RESP, f.COPYIN, 0, b"abc"))
    pair.client.send(f.pack(4, f.RESP, f.COPYIN, 0, b"01234567"))
    pair.client.send(f.pack(6, f.ERROR, f.COPYIN, 7))
    assert pair.read() == []
    assert bytes(exact) == b"01234567"
    assert bytes(shorter[:3]) == b"abc"
    assert [first.size, second.size] == [8, 3]
    assert [first.failed, second.failed, third.failed] == [False, False, True]
    assert all(answer.wait() for answer in (first, second, third))
    assert pair.answers == {}


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (f.pack(1, f.RESP, f.COPYIN, 0, bytes(7)), "7 octets where 8"),
        (f.pack(1, f.RESP, f.COPYIN, 0, bytes(9)), "9 octets where 8"),
        (f.pack(1, f.RESP, f.ANONMMAP, 0, bytes(8)), "not what was asked for"),
        (f.pack(2, f.RESP, f.COPYIN, 0, bytes(8)), "nobody has asked"),
        (f.pack(2, f.ERROR, f.COPYIN, 0), "nobody has asked"),
    ],
)
def test_answers_that_are_wrong(pair: Pair, frame: bytes, why: str) -> None:
    """The waiting one is ended by who cleans up, not before."""
    room = bytearray(8)
    pair.answers[1] = answer = Answer(f.COPYIN, memoryview(room))
    pair.client.send(frame)
    with pytest.raises(ProtocolError, match=why):
        pair.read()
    assert not answer.wait(0.01)
    pair.stream.abandon()
    assert answer.wait()
    assert answer.failed
    assert room == bytes(8)


def test_a_length_that_nobody_could_hold(pair: Pair) -> None:
    pair.client.send(f.HEADER.pack((1 << 64) - 1, 1, f.REQ, f.SYSCALL, 0))
    with pytest.raises(ProtocolError, match="a length of 18446744073709551615 oct"):
        pair.read()


@pytest.mark.parametrize("part", [0, 1, 23, 24, 30])
def test_the_end(pair: Pair, part: int) -> None:
    """Between two frames it is in order."""
    pair.client.send(request(1, 8)[:part])
    pair.client.close()
    with pytest.raises(ProtocolError if part else EOFError):
        pair.read()
