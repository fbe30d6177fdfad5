"""host/recorder: what recorded thunks write, read back.

Runs on every machine that has templates; tests/host/test_aarch64.py runs this
file under emulation.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter

import attrs
import pytest

from rumphyper.errors import HostError
from rumphyper.host import thunks
from rumphyper.host.libc import libc
from rumphyper.host.recorder import Record
from rumphyper.host.recordring import RECORD
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


def test_a_full_ring_loses_records_and_says_so() -> None:
    library = labs_library(8)
    call = TO_LONG(library.address("labs"))
    for value in range(20):
        assert call(-value) == value
    assert len(library.ring) == 8
    assert library.ring.lost == 12
    records = library.ring.drain()
    assert [record.result for record in records] == list(range(8))
    assert call(-99) == 99
    (record,) = library.ring.drain()
    assert record.result == 99
    assert library.ring.lost == 12


def test_draining_over_the_wrap_and_by_pieces() -> None:
    library = labs_library(8)
    call = TO_LONG(library.address("labs"))
    results = []
    for value in range(1, 101):
        call(-value)
        if value % 5 == 0:
            results += [record.result for record in library.ring.drain(2)]
            results += [record.result for record in library.ring.drain()]
    assert results == list(range(1, 101))
    assert library.ring.lost == 0


def test_octets_can_be_decoded_later() -> None:
    library = labs_library()
    call = TO_LONG(library.address("labs"))
    call(-1)
    call(-2)
    (octets,) = library.ring.take()
    assert len(octets) == 2 * RECORD.size
    assert len(library.ring) == 0
    assert [r.arguments for r in library.ring.decode(octets)] == [
        (-1 & MASK,),
        (-2 & MASK,),
    ]


@pytest.mark.parametrize("capacity", [64, 1 << 15])
def test_many_threads_and_a_reader(capacity: int) -> None:
    library = labs_library(capacity)
    hands, rounds = 5, 3000
    idents = {}

    def work(hand: int) -> None:
        idents[hand] = threading.get_ident()
        call = TO_LONG(library.address("labs"))
        barrier.wait()
        for turn in range(rounds):
            assert call(-(hand * 1_000_000 + turn)) == hand * 1_000_000 + turn
        barrier.wait()  # nobody's thread id is used again before all are done

    barrier = threading.Barrier(hands)
    threads = [threading.Thread(target=work, args=(hand,)) for hand in range(hands)]
    for thread in threads:
        thread.start()
    records: list[Record] = []
    while any(thread.is_alive() for thread in threads):
        records += library.ring.drain()
        time.sleep(0.0005)
    records += library.ring.drain()
    assert len(records) + library.ring.lost == hands * rounds
    assert len(records) >= min(capacity, hands * rounds)
    seen: dict[int, int] = {}
    for record in records:
        assert record.result is not None
        assert record.arguments == (-record.result & MASK,)
        hand, turn = divmod(record.result, 1_000_000)
        assert record.thread == idents[hand]
        assert turn > seen.get(hand, -1)
        seen[hand] = turn
    assert Counter(record.symbol for record in records) == {"labs": len(records)}


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


@pytest.mark.parametrize("capacity", [0, 1, -8, 3, 100, 1 << 25])
def test_unfit_capacities(capacity: int) -> None:
    with pytest.raises(HostError, match="power of two"):
        ThunkBuilder("libx.so", capacity)


def test_overwriting_keeps_the_newest() -> None:
    library = labs_library(8)
    ring = library.ring
    ring.overwriting = True
    call = TO_LONG(library.address("labs"))
    for value in range(20):
        call(-value)
    assert (len(ring), ring.head, ring.lost) == (8, 20, 0)
    assert [record.result for record in ring.drain()] == list(range(12, 20))
    assert ring.drain() == []
    for value in range(3):
        call(-value)
    assert [record.result for record in ring.drain()] == [0, 1, 2]
    for value in range(30):
        call(-value)
    ring.overwriting = False  # what is there stays, what comes now is lost
    call(-99)
    assert ring.lost == 1
    assert [record.result for record in ring.drain()] == list(range(22, 30))
    call(-7)
    ring.clear()
    assert ring.drain() == []
    assert ring.skipped == 12 + 22
    ring.overwriting = True
    for value in range(7):
        call(-value)
    assert [record.result for record in ring.drain(2)] == [5, 6]  # the newest
    assert ring.drain() == []


def test_a_record_that_was_never_finished_is_not_written_over() -> None:
    """As if a thread had been stopped in the middle for a whole round."""
    library = labs_library(8)
    ring = library.ring
    ring.overwriting = True
    call = TO_LONG(library.address("labs"))
    for value in range(10):
        call(-value)
    place = 16 * 4
    tag, ring._view[place] = ring._view[place], 0
    for value in range(10, 20):
        call(-value)
    assert (ring.head, ring.lost) == (12, 8)
    assert [record.result for record in ring.drain()] == []  # it holds back the rest
    ring._view[place] = tag
    call(-50)
    assert [record.result for record in ring.drain()] == [*range(5, 12), 50]


def test_many_threads_overwriting() -> None:
    """Whatever is read is whole, and in order for each thread."""
    library = labs_library(64)
    ring = library.ring
    ring.overwriting = True
    hands, rounds = 4, 4000

    def work(hand: int) -> None:
        call = TO_LONG(library.address("labs"))
        for turn in range(rounds):
            call(-(hand * 1_000_000 + turn))

    threads = [threading.Thread(target=work, args=(hand,)) for hand in range(hands)]
    for thread in threads:
        thread.start()
    records: list[Record] = []
    while any(thread.is_alive() for thread in threads):
        records += ring.drain()
    records += ring.drain()
    assert ring.head + ring.lost == hands * rounds == library["labs"].count
    assert len(records) >= 64
    seen: dict[int, int] = {}
    for record in records:
        assert record.result is not None
        assert record.arguments == (-record.result & MASK,)
        hand, turn = divmod(record.result, 1_000_000)
        assert turn > seen.get(hand, -1)
        seen[hand] = turn


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
