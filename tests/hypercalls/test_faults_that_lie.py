"""Wrong clocks, seeded octets, bad frames, on a hypervisor without a kernel."""

from __future__ import annotations

import ctypes
import time
from ctypes import byref, c_int64, c_long, c_size_t

import pytest

from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import Setup, put

HOUR = 3600


def read(setup: Setup, clock: int) -> float:
    """A clock as the kernel sees it."""
    sec, nsec = c_int64(), c_long()
    assert setup.call("clock_gettime", clock, byref(sec), byref(nsec)) == 0
    assert 0 <= nsec.value < 10**9
    return sec.value + nsec.value / 1e9


def random_octets(setup: Setup, count: int = 16) -> bytes:
    """Octets of rumpuser_getrandom."""
    buffer, done = ctypes.create_string_buffer(count), c_size_t()
    assert setup.call("getrandom", buffer, count, 0, byref(done)) == 0
    return buffer.raw[: done.value]


def test_clock_offset(setup: Setup) -> None:
    """Both clocks, or each by itself."""
    wall, mono = read(setup, 0), read(setup, 1)
    both = put(setup, "clock:offset=1h")
    assert HOUR <= read(setup, 0) - wall < HOUR + 60
    assert HOUR <= read(setup, 1) - mono < HOUR + 60
    both.detach()
    put(setup, "clock:wall.offset=-1h,mono.offset=2h")
    assert -HOUR <= read(setup, 0) - wall < -HOUR + 60
    assert 2 * HOUR <= read(setup, 1) - mono < 2 * HOUR + 60


def test_clock_rate(setup: Setup) -> None:
    """Time passes faster from the first reading on; a clock never jumps."""
    fault = put(setup, "clock:mono.rate=1000")
    wall, mono = read(setup, 0), read(setup, 1)
    assert abs(mono - time.monotonic()) < 10
    time.sleep(0.05)
    assert read(setup, 1) - mono >= 50
    assert read(setup, 0) - wall < 30
    assert fault.calls == 4
    assert fault.injected == 2  # the wall clock was left alone


def test_clock_start(setup: Setup) -> None:
    """The first reading is the same in every run."""
    for _ in range(2):
        fault = put(setup, "clock:start=2001-01-01,rate=0.001")
        assert read(setup, 0) == 978307200
        assert 978307200 <= read(setup, 0) < 978307201
        fault.detach()
    put(setup, "clock:start=1000000000,wall.offset=1m")
    assert read(setup, 0) == 1000000060


def test_clock_that_is_unknown_fails_as_before(setup: Setup) -> None:
    put(setup, "clock:offset=1h,rate=2,sleep=2")
    sec, nsec = c_int64(), c_long()
    assert setup.call("clock_gettime", 7, byref(sec), byref(nsec)) == Errno.EINVAL
    assert setup.call("clock_sleep", 7, 0, 0) == Errno.EINVAL
    assert setup.call("clock_sleep", 0, 0, 10**9) == Errno.EINVAL


@pytest.mark.parametrize(
    ("text", "clock", "shown", "least", "most"),
    [
        ("clock:wall.rate=200", 0, 20.0, 0.1, 15),
        ("clock:rate=200", 1, 20.0, 0.09, 15),
        ("clock:mono.offset=1h,mono.rate=200", 1, 20.0, 0.09, 15),
        ("clock:sleep=8", 0, 0.01, 0.08, 30),
        ("clock:sleep=8", 1, 0.02, 0.08, 30),
        ("clock:sleep=0.001", 1, 30.0, 0.02, 20),
        ("clock:mono.offset=1h", 1, -5.0, 0.0, 4.0),
    ],
)
def test_sleeps_follow_the_clocks(
    setup: Setup, text: str, clock: int, shown: float, least: float, most: float
) -> None:
    """``shown`` seconds of sleep, absolute for clock 1, last as long as they should."""
    put(setup, text)
    now = read(setup, 1) if clock else 0.0
    began = time.monotonic()
    sec, rest = divmod(now + shown, 1)
    assert setup.call("clock_sleep", clock, int(sec), int(rest * 1e9)) == 0
    assert least <= time.monotonic() - began <= most


def test_waits_follow_the_clocks(setup: Setup) -> None:
    put(setup, "clock:mono.rate=200")
    mutex = setup.made("mutex_init", 2)
    condvar = setup.made("cv_init")
    setup.call("mutex_enter", mutex)
    began = time.monotonic()
    assert setup.call("cv_timedwait", condvar, mutex, 20, 0) == Errno.ETIMEDOUT
    assert 0.1 <= time.monotonic() - began < 15
    setup.call("mutex_exit", mutex)


def test_seeded_random() -> None:
    """The same in two runs, another with another seed, never twice in one."""
    runs = []
    for seed in ("7", "7", "8"):
        setup = Setup()
        put(setup, f"getrandom:seed={seed}")
        runs.append([random_octets(setup, size) for size in (16, 16, 5000)])
        setup.hv.close()
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
    assert runs[0][0] != runs[0][1]
    assert [len(octets) for octets in runs[0]] == [16, 16, 4096]


class Wire:
    """Takes what rumpcomp_virt_send is given."""

    def __init__(self, setup: Setup) -> None:
        self.frames: list[tuple[int, bytes]] = []
        setup.hv.bind("virt_send", self.take)
        self.setup = setup

    def take(self, user: int, iov: int, iovlen: int) -> None:
        words = (c_size_t * (2 * iovlen)).from_address(iov)
        parts = zip(words[::2], words[1::2], strict=True)
        self.frames.append((user, b"".join(ctypes.string_at(*part) for part in parts)))

    def send(self, *parts: bytes) -> None:
        buffers = [ctypes.create_string_buffer(part, len(part)) for part in parts]
        words: list[int] = []
        for buffer in buffers:
            words += [ctypes.addressof(buffer), len(buffer)]
        array = (c_size_t * len(words))(*words)
        self.setup.call("virt_send", 5, array, len(parts))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("drop=100%", []),
        ("drop=0%", [b"abcd"]),
        ("duplicate=1", [b"abcd", b"abcd"]),
        ("drop=1,duplicate=1,corrupt=1", []),
    ],
)
def test_sending(setup: Setup, text: str, sent: list[bytes]) -> None:
    wire = Wire(setup)
    put(setup, f"virt_send:{text}")
    wire.send(b"ab", b"cd")
    assert wire.frames == [(5, frame) for frame in sent]


def test_corrupt_frames_have_one_wrong_bit(setup: Setup) -> None:
    wire = Wire(setup)
    put(setup, "virt_send:corrupt=100%,seed=1")
    places = set()
    for _ in range(200):
        wire.send(b"ab", b"c", b"d")
        _, frame = wire.frames[-1]
        wrong = int.from_bytes(frame, "big") ^ int.from_bytes(b"abcd", "big")
        assert wrong.bit_count() == 1
        places.add(wrong)
    assert len(places) > 16


def test_dropping_is_seeded(setup: Setup) -> None:
    wire = Wire(setup)
    lost = []
    for _ in range(2):
        fault = put(setup, "virt_send:drop=10%,seed=4")
        wire.frames.clear()
        for number in range(500):
            wire.send(bytes([number % 256, number // 256]))
        lost.append([frame for _, frame in wire.frames])
        assert fault.injected == 500 - len(lost[-1])
        fault.detach()
    assert lost[0] == lost[1]
    assert 20 <= 500 - len(lost[0]) <= 90
