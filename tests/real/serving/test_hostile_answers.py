"""Clients asked in the middle of a call that answer wrongly, late or never."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

import pytest

from rumphyper.hypercalls.proxy import frames as f
from tests.real.serving.kit import Served, hostile_kernel, witnessed
from tests.real.serving.raw import (
    OPEN,
    Raw,
    bind,
    cut_by,
)

pytestmark = pytest.mark.rump

EFAULT = 14


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    yield from hostile_kernel()


@pytest.fixture(autouse=True)
def _unharmed(served: Served) -> Iterator[None]:
    yield from witnessed(served)


def answer(size: int, type: int = f.COPYIN, number: int = 0) -> Callable[[Raw], None]:
    def act(raw: Raw) -> None:
        reqno = bind(raw).reqno + number
        raw.send(f.pack(reqno, f.RESP, type, 0, bytes(size)))

    return act


@pytest.mark.parametrize(
    "act",
    [
        answer(0),
        answer(15),
        answer(17),
        answer(1 << 20),
        answer(16, f.COPYINSTR),
        answer(8, f.ANONMMAP),
        answer(16, number=1),
        answer(16, number=1 << 40),
    ],
)
def test_wrong_answers(served: Served, act: Callable[[Raw], None]) -> None:
    cut_by(served.url, act)


def test_an_error_as_the_answer(served: Served) -> None:
    with Raw(served.url) as raw:
        frame = bind(raw)
        raw.send(f.pack(frame.reqno, f.ERROR, f.COPYIN, 7))
        assert f.SYSRESP.unpack(raw.frame().body)[0] == EFAULT
        assert raw.works()


def test_no_answer_at_all(served: Served) -> None:
    start = time.monotonic()
    cut_by(served.url, bind)
    assert time.monotonic() - start > 0.9  # its patience is one second


def test_half_an_answer(served: Served) -> None:
    def act(raw: Raw) -> None:
        whole = f.pack(bind(raw).reqno, f.RESP, f.COPYIN, 0, bytes(16))
        raw.send(whole[:30])

    cut_by(served.url, act)


def test_an_answer_one_octet_at_a_time(served: Served) -> None:
    with Raw(served.url) as raw:
        name = struct.pack("=BB14x", 16, 2)
        reqno = bind(raw).reqno
        for octet in f.pack(reqno, f.RESP, f.COPYIN, 0, name):
            raw.send(bytes([octet]))
        assert f.SYSRESP.unpack(raw.frame().body)[0] == 0


def test_an_answer_that_takes_for_ever(served: Served) -> None:
    """Octets that keep coming do not buy more time."""

    def act(raw: Raw) -> None:
        for octet in f.pack(bind(raw).reqno, f.RESP, f.COPYIN, 0, bytes(16)):
            raw.send(bytes([octet]))
            time.sleep(0.1)

    start = time.monotonic()
    cut_by(served.url, act)
    assert time.monotonic() - start < 3.5


def test_other_calls_while_an_answer_is_awaited(served: Served) -> None:
    with Raw(served.url) as raw:
        frame = bind(raw)
        assert raw.works()
        secret = raw.response(raw.request(f.PREFORK)).body
        assert len(secret) == 16
        raw.send(f.pack(frame.reqno, f.RESP, f.COPYIN, 0, struct.pack("=BB14x", 16, 2)))
        assert f.SYSRESP.unpack(raw.frame().body)[0] == 0


def test_strings(served: Served) -> None:
    with Raw(served.url) as raw:
        for text, error in ((b"/no/such\0", 2), (b"/" + b"x" * 1023, 63), (b"", 63)):
            raw.memory[0x1000] = text
            assert raw.syscall(OPEN, 0x1000, 0, 0)[0] == error
