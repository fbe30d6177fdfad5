"""Clocks, settings, random numbers, errno, console, signals, the end."""

from __future__ import annotations

import ctypes
import errno as host
import signal
import time
from ctypes import byref, c_int64, c_long, c_size_t
from typing import Any

import pytest

from rumphyper.hypercalls.errno import to_netbsd
from tests.hypercalls.stock.sides import Side, both, differ, differ_alone, run_both

pytestmark = pytest.mark.rump


def test_errno_table(sides: tuple[Side, Side]) -> None:
    """Every host errno, known or not, becomes the same NetBSD errno."""
    numbers = both(
        sides, lambda side: [side.call("errtrans", n) for n in range(-2, 300)]
    )
    assert numbers == [to_netbsd(n) for n in range(-2, 300)]
    assert numbers[2 + host.ETIMEDOUT] == 60


def test_clocks(sides: tuple[Side, Side]) -> None:
    """They agree to the second, and sleep alike."""

    def read(side: Side) -> Any:
        seconds, nanoseconds = c_int64(), c_long()
        found = []
        for clock in (0, 1):
            result = side.call(
                "clock_gettime", clock, byref(seconds), byref(nanoseconds)
            )
            now = time.clock_gettime(
                time.CLOCK_MONOTONIC if clock else time.CLOCK_REALTIME
            )
            found.append(
                (result, abs(seconds.value + nanoseconds.value / 1e9 - now) < 1)
            )
        return found

    assert both(sides, read) == [(0, True), (0, True)]

    def sleep(side: Side) -> Any:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + 5_000_000
        return [
            side.call("clock_sleep", 0, 0, 1_000_000),
            side.call("clock_sleep", 1, now // 10**9, now % 10**9),
            side.call("clock_sleep", 1, 0, 0),
            side.call("clock_sleep", 0, 0, 10**9),
            side.call("clock_sleep", 0, -1, 0),
            side.call("clock_sleep", 1, 0, -1),
        ]

    both(sides, sleep)


def test_getparam(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and rooms of all kinds."""
    monkeypatch.setenv("HYPER_TEST", "value")
    monkeypatch.setenv("HYPER_EMPTY", "")

    def ask(side: Side) -> Any:
        answers = []
        for name in (
            b"HYPER_TEST", b"HYPER_EMPTY", b"HYPER_NONE", b"_NONE", b"",
            b"_RUMPUSER_NCPU", b"_RUMPUSER_HOSTNAME",
        ):  # fmt: skip
            for room in (2, 5, 6, 256):
                buffer = ctypes.create_string_buffer(256)
                result = side.call("getparam", name, buffer, room)
                answers.append((result, buffer.value if result == 0 else b""))
        return answers

    for ncpu in (None, "1", "host", "12345"):
        if ncpu is None:
            monkeypatch.delenv("RUMP_NCPU", raising=False)
        else:
            monkeypatch.setenv("RUMP_NCPU", ncpu)
        both(sides, ask)


def test_getrandom(sides: tuple[Side, Side]) -> None:
    """As many octets as are asked for, up to the stock library's 32."""

    def ask(side: Side) -> Any:
        results = []
        for size in (0, 1, 32):
            buffer, done = ctypes.create_string_buffer(64), c_size_t(77)
            result = side.call("getrandom", buffer, size, 3, byref(done))
            results.append((result, done.value, buffer.raw[size:] == bytes(64 - size)))
        return results

    both(sides, ask)


def test_seterrno(sides: tuple[Side, Side]) -> None:
    """The number arrives in C's errno as it is."""

    def work(side: Side) -> list[int]:
        found = []
        for number in (0, 35, 45, 4711):
            ctypes.set_errno(1)
            side.call("seterrno", number)
            found.append(ctypes.get_errno())
        return found

    assert both(sides, work) == [0, 35, 45, 4711]


SIGNALS = """
import signal
seen = []
host = sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})
for number in host:
    try:
        signal.signal(number, lambda number, frame: seen.append(number))
    except OSError:
        pass  # the C library keeps it for itself
for number in range(-1, 70):
    if number not in (9, 17):
        seen.append(-number)
        assert call("kill", -1, number) == 0
print(seen)
"""


def test_signals() -> None:
    """Every NetBSD signal number raises the host's, or nothing."""
    stock, ours = run_both(SIGNALS)
    assert stock == ours
    assert stock[::2] == (0, "")
    assert f"-30, {int(signal.SIGUSR1)}, -31, {int(signal.SIGUSR2)}" in stock[1]


@pytest.mark.parametrize("number", [9, 17])
def test_signals_that_cannot_be_caught(number: int) -> None:
    """SIGKILL is the end, SIGSTOP stops."""
    work = f"""
import signal
child = os.fork()
if not child:
    call("kill", 1, {number})
    os._exit(0)
_, status = os.waitpid(child, os.WUNTRACED)
print(os.WIFSTOPPED(status), os.WIFSIGNALED(status))
if os.WIFSTOPPED(status):
    os.kill(child, 9)
"""
    stock, ours = run_both(work)
    assert stock == ours == (0, "True False\n" if number == 17 else "False True\n", "")


CONSOLE = r"""
dprintf = side.address("rumpuser_dprintf")
print("a", end="", flush=True)
for character in b"line\nrest \xc3\xa9":
    call("putchar", character)
kinds = [ctypes.c_char_p, c_int, ctypes.c_uint, c_long, ctypes.c_int64]
full = ctypes.CFUNCTYPE(None, *kinds, ctypes.c_char_p, c_int, c_size_t)(dprintf)
full(b"%d %#x %ld %lld [%8s] %c %zu\n", -5, 2**32 - 1, -1, -(1 << 62), b"net", 65,
     1 << 63)
ctypes.CFUNCTYPE(None, ctypes.c_char_p)(dprintf)(b"100 %%\n")
call("rumpuser_exit", 7)
"""


def test_console_and_exit() -> None:
    """Every width comes out alike; nothing written is lost at the end."""
    stock, ours = run_both(CONSOLE)
    assert stock == ours
    assert stock[0] == 7
    assert stock[1] == "aline\nrest éhalted\n"


def test_panic() -> None:
    """A core dump, as far as the host makes one."""
    stock, ours = run_both("call('rumpuser_exit', -1)")
    assert stock[0] == ours[0] == -6


def test_end_of_python() -> None:
    work = """
import atexit
atexit.register(lambda: print("atexit", flush=True))
call("rumpuser_exit", 0)
"""
    stock, ours = differ_alone("rumpuser_exit", work)
    assert stock == (0, "halted\n", "")
    assert sorted(ours[1].split()) == ["atexit", "halted"]
    assert (ours[0], ours[2]) == (0, "")


def test_other_versions() -> None:
    work = "print(call('init', 18, byref(side.kernel.table)))"
    stock, ours = differ_alone("rumpuser_init with another version", work)
    assert stock[0] == -6
    assert ours[:2] == (0, "22\n")


@pytest.mark.parametrize(
    "call", ["'clock_gettime', 2, byref(sec), byref(nsec)", "'clock_sleep', 2, 0, 0"]
)
def test_unknown_clocks(call: str) -> None:
    work = f"sec, nsec = ctypes.c_int64(), c_long()\nprint(call({call}))"
    stock, ours = differ_alone("rumpuser_clock_* of an unknown clock", work)
    assert stock[0] == -6
    assert ours[:2] == (0, "22\n")


def test_many_random_octets(sides: tuple[Side, Side]) -> None:
    def ask(side: Side) -> int:
        buffer, done = ctypes.create_string_buffer(8192), c_size_t()
        assert side.call("getrandom", buffer, 8192, 0, byref(done)) == 0
        assert buffer.raw[done.value :] == bytes(8192 - done.value)
        return done.value

    assert differ(sides, "rumpuser_getrandom", ask) == (32, 4096)
