"""Frames that cannot be, and requests out of place: no harm to anybody else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from rumphyper.hypercalls.proxy import frames as f
from tests.real.serving.kit import Served, hostile_kernel, witnessed
from tests.real.serving.raw import (
    GETPID,
    SOCKET,
    WRITE,
    Raw,
    cut_by,
)

pytestmark = pytest.mark.rump

EAGAIN, ENOSYS = 35, 78


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from hostile_kernel()


@pytest.fixture(autouse=True)
def _unharmed(served: Served) -> Iterator[None]:
    yield from witnessed(served)


def header(length: int, cls: int, type: int, word: int = 0) -> bytes:
    return f.HEADER.pack(length, 1, cls, type, word)


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize(
    "octets",
    [
        bytes(24),
        b"\xff" * 24,
        header(23, f.REQ, f.SYSCALL),
        header(1 << 32, f.REQ, f.SYSCALL),
        header((1 << 32) + 24, f.REQ, f.SYSCALL),
        header((1 << 64) - 1, f.REQ, f.SYSCALL),
        header(24 + 65, f.REQ, f.SYSCALL),
        header(1 << 31, f.REQ, f.HANDSHAKE),
        header(25, f.REQ, f.PREFORK),
        header(24, f.REQ, f.COPYIN),
        header(24, f.REQ, 99),
        header(24, 3, f.SYSCALL),
        header(24, f.RESP, f.SYSCALL),
        header(1 << 40, f.RESP, f.COPYIN),
        header(24, f.RESP, f.COPYIN),
        header(24, f.ERROR, f.COPYIN),
        b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    ],
)
def test_frames_that_cannot_be(served: Served, octets: bytes, guest: bool) -> None:
    before = served.ask("state")["problems"]
    assert cut_by(served.url, lambda raw: raw.send(octets), guest) == []
    assert len(served.ask("state")["problems"]) <= len(before) + 1


@pytest.mark.parametrize(
    ("guest", "type", "word", "body", "error"),
    [
        (False, f.SYSCALL, GETPID, b"", f.ERR_AUTH),
        (False, f.PREFORK, 0, b"", f.ERR_AUTH),
        (False, f.HANDSHAKE, f.AUTHENTICATE, b"x\0", f.ERR_AUTH),
        (False, f.HANDSHAKE, f.EXEC, b"x\0", f.ERR_AUTH),
        (False, f.HANDSHAKE, 4, b"x\0", f.ERR_AUTH),
        (False, f.HANDSHAKE, f.FORK_OF, b"x\0", f.ERR_MALFORMED_REQUEST),
        (False, f.HANDSHAKE, f.FORK_OF, bytes(20), f.ERR_INVALID_PREFORK),
        (True, f.HANDSHAKE, f.GUEST, b"x\0", f.ERR_MALFORMED_REQUEST),
        (True, f.HANDSHAKE, f.FORK_OF, bytes(20), f.ERR_MALFORMED_REQUEST),
        (True, f.HANDSHAKE, 1 << 31, b"x\0", f.ERR_MALFORMED_REQUEST),
    ],
)
def test_requests_out_of_place(
    served: Served, guest: bool, type: int, word: int, body: bytes, error: int
) -> None:
    got = cut_by(served.url, lambda raw: raw.request(type, word, body), guest)
    assert [(frame.cls, frame.word) for frame in got] == [(f.ERROR, error)]


@pytest.mark.parametrize("number", [0, 1, 511, 512, 1 << 16, (1 << 31) - 1])
def test_calls_that_do_not_exist(served: Served, number: int) -> None:
    with Raw(served.url) as raw:
        assert raw.syscall(number, *[-1] * 8)[0] == ENOSYS
        assert raw.works()


@pytest.mark.parametrize("number", [1 << 31, (1 << 32) - 1, (1 << 32) - 500])
def test_numbers_that_would_be_negative_in_c(served: Served, number: int) -> None:
    with Raw(served.url) as raw:
        assert raw.syscall(number)[0] == ENOSYS


def test_arguments_that_were_not_sent_are_zero(served: Served) -> None:
    with Raw(served.url) as raw:
        assert raw.syscall(WRITE)[0] == 0  # write(0, NULL, 0), to the console
        assert raw.syscall(SOCKET, 2)[0] != 0  # a socket of type 0
        assert raw.works()


def test_one_octet_at_a_time(served: Served) -> None:
    with Raw(served.url, guest=False) as raw:
        for octet in f.pack(1, f.REQ, f.HANDSHAKE, f.GUEST, b"slow\0"):
            raw.send(bytes([octet]))
            time.sleep(0.002)
        assert raw.frame() == (1, f.RESP, f.HANDSHAKE, 0, bytes(4))
        for octet in f.pack(2, f.REQ, f.SYSCALL, GETPID):
            raw.send(bytes([octet]))
        assert raw.frame().reqno == 2


def test_many_requests_in_one_piece(served: Served) -> None:
    """Answers may come in any order; too many at once are told so."""
    with Raw(served.url) as raw:
        requests = [f.pack(n, f.REQ, f.SYSCALL, GETPID) for n in range(100)]
        raw.send(b"".join(requests))
        answers = [raw.frame() for _ in requests]
        assert sorted(frame.reqno for frame in answers) == list(range(100))
        errors = {f.SYSRESP.unpack(frame.body)[0] for frame in answers}
        assert errors <= {0, EAGAIN}


@pytest.mark.parametrize("part", [0, 1, 24, 30])
def test_half_closed(served: Served, part: int) -> None:
    def act(raw: Raw) -> None:
        raw.send(f.pack(9, f.REQ, f.SYSCALL, GETPID, bytes(16))[:part])
        raw.sock.shutdown(socket.SHUT_WR)

    assert cut_by(served.url, act) == []


def test_a_client_that_waits_is_no_problem(served: Served) -> None:
    """Patience is for answers, not for requests."""
    with Raw(served.url) as raw:
        raw.send(f.pack(1, f.REQ, f.SYSCALL, GETPID)[:20])
        time.sleep(1.5)
        raw.send(f.pack(1, f.REQ, f.SYSCALL, GETPID)[20:])
        assert raw.frame().reqno == 1
