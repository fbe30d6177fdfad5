"""host/recorder: how long calls took, in records and in totals.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import time

import pytest

from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

LONG = ctypes.c_int64
TO_LONG = ctypes.CFUNCTYPE(LONG, LONG)


def test_durations_are_nanoseconds() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("usleep", 1)
    library = builder.load()
    library["usleep"].target = libc().usleep
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(library.address("usleep"))
    before = time.monotonic_ns()
    call(20_000)
    around = time.monotonic_ns() - before
    (record,) = library.ring.drain()
    assert 20_000_000 * 0.999 <= record.end - record.start <= around * 1.001


def test_totals_of_recorded_and_timed_symbols() -> None:
    """Calls, failures and time are exact, also of calls that were lost."""
    builder = ThunkBuilder("libtest-recorder.so", 2)
    builder.recorded("recorded", 1)
    builder.timed("timed", 1)
    builder.recorded("leave", 0, noreturn=True)
    library = builder.load()
    library["leave"].target = ctypes.CFUNCTYPE(None)(lambda: None)

    def sleep(milliseconds: int) -> int:
        time.sleep(milliseconds / 1000)
        return 0

    for name in ("recorded", "timed"):
        thunk = library[name]
        thunk.target = libc().labs
        call = TO_LONG(thunk.address)
        assert [call(value) for value in (0, -1, 1 << 32, 5, -6)] == [
            0, 1, 1 << 32, 5, 6
        ]  # fmt: skip
        assert (thunk.count, thunk.failed) == (5, 3)  # the lower half is the result
        before = thunk.ticks
        assert before > 0
        thunk.target = TO_LONG(sleep)
        call(20)
        spent = (thunk.ticks - before) * library.ring.clock.rate
        assert 20e6 * 0.999 <= spent < 2e9
        assert (thunk.count, thunk.failed) == (6, 3)
    assert (len(library.ring), library.ring.lost) == (2, 4)
    ctypes.CFUNCTYPE(None)(library.address("leave"))()
    assert (library["leave"].count, library["leave"].ticks) == (1, 0)


@pytest.mark.parametrize("argc", [0, 3, 6, 7, 8, 9, 14])
def test_timed_symbols_pass_everything_on(argc: int) -> None:
    builder = ThunkBuilder("libtest-recorder.so", 2)
    builder.timed("f", argc)
    builder.timed("print", 3, variadic=True)
    library = builder.load()
    prototype = ctypes.CFUNCTYPE(LONG, *[LONG] * argc)
    seen: list[tuple[int, ...]] = []

    def target(*values: int) -> int:
        seen.append(values)
        return -5

    library["f"].target = prototype(target)
    values = tuple((index + 1) << 40 | index for index in range(argc))
    assert prototype(library.address("f"))(*values) == -5
    assert seen == [values]
    library["print"].target = libc().snprintf
    kinds = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_double]
    more = [ctypes.c_int] * argc
    call = ctypes.CFUNCTYPE(ctypes.c_int, *kinds, *more)(library.address("print"))
    out = ctypes.create_string_buffer(400)
    call(ctypes.addressof(out), 400, b"%.1f" + b" %d" * argc, 2.5, *range(argc))
    assert out.value.decode().split() == ["2.5", *map(str, range(argc))]


def test_a_threshold_keeps_short_calls_out() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("usleep", 1)
    library = builder.load()
    library["usleep"].target = libc().usleep
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(library.address("usleep"))
    library.ring.threshold = round(20_000_000 / library.ring.clock.rate)
    assert library.ring.threshold > 0
    call(1)
    call(21_000)
    (record,) = library.ring.drain()
    assert record.arguments[0] & 0xFFFFFFFF == 21_000
    assert library["usleep"].count == 2
