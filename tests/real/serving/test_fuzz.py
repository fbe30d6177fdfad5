"""Arbitrary frames, in any order and cut anywhere."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rumphyper.hypercalls.proxy import frames as f
from tests.real.serving.kit import Served, serving
from tests.real.serving.raw import BIND, GETPID, PIPE2, REBOOT, RECVFROM, Cut, Raw

pytestmark = pytest.mark.rump

SMALL = st.integers(0, 9)
LENGTHS = st.one_of(
    st.integers(0, 200), st.sampled_from([1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1])
)
HEADERS = st.builds(
    f.HEADER.pack, LENGTHS, SMALL, st.integers(0, 4), SMALL, st.integers(0, 3)
)
CALLS = st.builds(
    lambda number, args: f.pack(
        1, f.REQ, f.SYSCALL, number, b"".join(struct.pack("=q", a) for a in args)
    ),
    st.sampled_from([GETPID, BIND, RECVFROM, PIPE2, 394, 30, 98, 5, 3, 4, 6, 1000]),
    st.lists(st.one_of(SMALL, st.integers(-(1 << 63), (1 << 63) - 1)), max_size=8),
)
REQUESTS = st.builds(
    f.pack, SMALL, st.just(f.REQ), SMALL, SMALL, st.binary(max_size=40)
)
ANSWERS = st.builds(
    f.pack, SMALL, st.sampled_from([f.RESP, f.ERROR]), SMALL, SMALL, st.binary()
)
PIECES = st.lists(
    st.one_of(st.binary(max_size=60), HEADERS, CALLS, CALLS, REQUESTS, ANSWERS),
    max_size=12,
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(patience=0.2, greeting=0.2, orphanage=0.1, calls=16) as kernel:
        yield kernel


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, guest=st.booleans(), polite=st.booleans(), cut=st.integers(0, 99))
def test_whatever_a_client_sends(
    served: Served, pieces: list[bytes], guest: bool, polite: bool, cut: int
) -> None:
    octets = b"".join(pieces)
    with Raw(served.url, guest) as raw, contextlib.suppress(Cut, TimeoutError):
        raw.sock.settimeout(0.05)
        raw.send(octets[: len(octets) - cut])
        while polite:
            frame = raw.frame()
            if frame.cls == f.REQ:
                raw.serve(frame)
    with Raw(served.url) as witness:
        assert witness.works()


def test_nothing_was_left_by_that(served: Served) -> None:
    """After the test above, which it is of little use without."""
    assert REBOOT not in (GETPID, BIND, RECVFROM, PIPE2)
    assert served.ask("works")
    with Raw(served.url) as raw:
        raw.response(raw.request(f.PREFORK))  # the kernel forgets old ones
    state = served.settled()
    assert state["processes"] <= 3 + 64
    assert state["descriptors"] < 40
    assert len(state["problems"]) <= 101
    out = served.end()["threads"]
    assert not [name for name in out if name.startswith("sysproxy")]
