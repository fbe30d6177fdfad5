"""host/recorder: what recorded thunks write, read back.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import threading
import time

import attrs
import pytest

from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary

pytestmark = pytest.mark.skipif(
    not thunks.supported(), reason="no machine code templates for this architecture"
)

LONG = ctypes.c_int64
MASK = (1 << 64) - 1
TO_LONG = ctypes.CFUNCTYPE(LONG, LONG)


def labs_library(capacity: int = 1024) -> ThunkLibrary:
    builder = ThunkBuilder("libtest-recorder.so", capacity)
    builder.recorded("labs", 1)
    library = builder.load()
    library["labs"].target = libc().labs
    return library


def test_a_record_tells_the_call() -> None:
    library = labs_library()
    call = TO_LONG(library.address("labs"))
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert call(-17) == 17
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    (record,) = library.ring.drain()
    assert record.symbol == "labs"
    assert record.thread == threading.get_ident()
    assert record.arguments == (-17 & MASK,)
    assert record.result == 17
    slack = 100_000
    assert before - slack <= record.start <= record.end <= after + slack
    assert library.ring.drain() == []
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.result = 0  # type: ignore[misc]


@pytest.mark.parametrize("argc", [0, 1, 5, 6, 7, 8, 9, 10, 11, 14])
def test_arguments_in_registers_and_on_the_stack(argc: int) -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("f", argc)
    library = builder.load()
    prototype = ctypes.CFUNCTYPE(LONG, *[LONG] * argc)
    seen: list[tuple[int, ...]] = []

    def target(*values: int) -> int:
        seen.append(values)
        return -5

    library["f"].target = prototype(target)
    values = tuple((index + 1) << 40 | index for index in range(argc))
    assert prototype(library.address("f"))(*values) == -5
    (record,) = library.ring.drain()
    assert seen == [values]
    assert record.arguments == values[:10]
    assert record.result == -5 & MASK


def test_variadic_floats_and_stack_words() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("print", 3, variadic=True)
    library = builder.load()
    library["print"].target = libc().snprintf
    # The prototype names all, for ctypes cannot say "variadic"; on the machines
    # with templates the registers are the same.
    kinds = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    values: list[float | int] = []
    form = b""
    for index in range(10):
        values += [index + 0.5, index - 4]
        kinds += [ctypes.c_double, ctypes.c_int]
        form += b"%.2f/%d "
    call = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(library.address("print"))
    out = ctypes.create_string_buffer(400)
    size = call(ctypes.addressof(out), 400, form, *values)
    expected = " ".join(f"{i + 0.5:.2f}/{i - 4}" for i in range(10)) + " "
    assert out.value.decode() == expected
    assert size == len(expected)
    (record,) = library.ring.drain()
    assert record.arguments[:2] == (ctypes.addressof(out), 400)
    assert record.result == len(expected)
    # Integers behind the format take the registers that are left.
    words = [word & 0xFFFFFFFF for word in record.arguments[3:6]]
    assert words == [-4 & 0xFFFFFFFF, -3 & 0xFFFFFFFF, -2 & 0xFFFFFFFF]


def test_float_results_pass() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("strtod", 2)
    library = builder.load()
    library["strtod"].target = libc().strtod
    kind = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_char_p, ctypes.c_void_p)
    assert kind(library.address("strtod"))(b"-2.5e3", None) == -2500.0
    assert library.ring.drain()[0].symbol == "strtod"


def test_two_word_results_pass() -> None:
    class Pair(ctypes.Structure):
        _fields_ = [("quot", LONG), ("rem", LONG)]

    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("ldiv", 2)
    library = builder.load()
    library["ldiv"].target = libc().ldiv
    pair = ctypes.CFUNCTYPE(Pair, LONG, LONG)(library.address("ldiv"))(47, 10)
    assert (pair.quot, pair.rem) == (4, 7)


def test_noreturn_is_recorded_before_the_jump() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("exit", 1, noreturn=True)
    library = builder.load()
    library["exit"].target = libc().pthread_exit
    # A thread of C's: its start routine is the thunk, its argument the value.
    thread = ctypes.c_ulong()
    start = ctypes.c_void_p(library.address("exit"))
    made = libc().pthread_create(
        ctypes.byref(thread), None, start, ctypes.c_void_p(0x12345678)
    )
    assert made == 0
    value = ctypes.c_void_p()
    assert libc().pthread_join(thread, ctypes.byref(value)) == 0
    assert value.value == 0x12345678
    (record,) = library.ring.drain()
    assert record.arguments == (0x12345678,)
    assert record.result is None
    assert record.thread == thread.value


def test_noreturn_with_stack_arguments_jumps_with_all() -> None:
    # The frame is gone at the jump, so a target that returns returns to the caller.
    builder = ThunkBuilder("libtest-recorder.so", 16)
    builder.recorded("f", 10, noreturn=True)
    library = builder.load()
    prototype = ctypes.CFUNCTYPE(LONG, *[LONG] * 10)
    library["f"].target = prototype(
        lambda *v: sum((i + 1) * x for i, x in enumerate(v))
    )
    values = tuple(range(3, 13))
    expected = sum((i + 1) * x for i, x in enumerate(values))
    assert prototype(library.address("f"))(*values) == expected
    assert library.ring.drain()[0].arguments == values


def test_calls_inside_of_calls() -> None:
    builder = ThunkBuilder("libtest-recorder.so", 64)
    builder.recorded("outer", 1)
    builder.recorded("inner", 1)
    library = builder.load()
    inner = TO_LONG(library.address("inner"))
    library["inner"].target = libc().labs
    library["outer"].target = TO_LONG(lambda value: inner(value) + 1)
    assert TO_LONG(library.address("outer"))(-8) == 9
    first, second = library.ring.drain()
    assert (first.symbol, second.symbol) == ("inner", "outer")
    assert second.start <= first.start <= first.end <= second.end
