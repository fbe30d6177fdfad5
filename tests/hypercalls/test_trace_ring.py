"""Calls that C answers: recorded by thunks, decoded afterwards."""

from __future__ import annotations

import ctypes
import threading
import time
from ctypes import c_int, c_size_t, c_void_p

import pytest

from rumphyper.host.thunks import supported
from rumphyper.hypercalls.trace import Trace
from rumphyper.hypercalls.tracejournal import WAITING
from tests.hypercalls.support import Setup
from tests.hypercalls.tracing import ERRTRANS, Collected, c_function, many

pytestmark = pytest.mark.skipif(not supported(), reason="no thunks here")


def test_a_record_of_the_ring(native: Setup) -> None:
    """Arguments and result by their types, thread, clock: as Python would say."""
    native.hv.trace = trace = Trace()
    before = time.monotonic_ns() - trace._began
    assert native.call("component_errtrans", -3) == 3
    assert native.call("clock_sleep", 3000, 1, 5) == 0
    assert native.call("syncfd", 9, 1, 1 << 40, 5) == 9
    native.call("curlwp")
    after = time.monotonic_ns() - trace._began
    one, two, three, four = trace.records
    assert [one.seq, two.seq, three.seq, four.seq] == [1, 2, 3, 4]
    assert (one.thread, one.thread_name) == (threading.get_native_id(), "MainThread")
    assert (one.name, one.arguments, one.result) == (ERRTRANS, ("-3",), "3 ESRCH")
    assert one.errno == 0  # it was the answer
    assert (two.arguments, two.result) == (("3000", "1", "5"), "0")
    assert 3_000_000 <= two.duration < 1_000_000_000
    assert three.arguments == ("9", "RUMPUSER_SYNCFD_READ", str(1 << 40), "5")
    assert (three.result, three.errno) == ("9 EBADF", 9)
    assert before <= one.start <= one.end <= two.start <= two.end <= three.start
    assert three.end <= four.start <= four.end <= after
    totals = trace.totals()
    assert totals["rumpuser_syncfd"].errors == 1
    assert totals[ERRTRANS].errors == 0
    total = totals["rumpuser_clock_sleep"]
    assert (total.calls, total.errors) == (1, 0)
    assert abs(total.nanoseconds - two.duration) < 1000


def test_both_kinds_in_one_order(native: Setup) -> None:
    """Sorted by the time at which calls ended, wherever they were recorded."""
    trace = Trace()
    native.hv.trace = trace
    for number in range(50):
        native.call("component_errtrans", number)
        native.call("curlwp")
    names = [record.name for record in trace.records]
    assert names == [ERRTRANS, "rumpuser_curlwp"] * 50
    assert [record.seq for record in trace.records] == list(range(1, 101))


def test_nested_calls(native: Setup) -> None:
    """A call inside of another ends first and lies within it."""
    trace = Trace()
    inner = native.hv.function("component_errtrans")
    native.hv.bind("curlwp", lambda: inner(7))
    native.hv.trace = trace
    assert native.call("curlwp") == 7
    first, second = trace.records
    assert (first.name, second.name) == (ERRTRANS, "rumpuser_curlwp")
    assert second.start <= first.start <= first.end <= second.end


def test_the_newest_are_kept(native: Setup) -> None:
    """Of a million calls the last ones, without a reader; the totals are exact."""
    trace = Trace(keep=1000)
    native.hv.trace = trace
    many(native, 1_000_000)
    native.call("curlwp")
    records = trace.records
    assert [record.seq for record in records] == list(range(999_002, 1_000_002))
    assert trace.counts() == {ERRTRANS: 1_000_000, "rumpuser_curlwp": 1}
    assert trace.lost == 0
    native.call("component_errtrans", 1)
    assert [record.seq for record in trace.records[-2:]] == [1_000_001, 1_000_002]
    native.hv.trace = None
    assert trace.records[-1].seq == 1_000_002
    assert trace.counts()[ERRTRANS] == 1_000_001


def test_lost_records_are_counted(native: Setup) -> None:
    """When the reader is too slow; whoever asks is told, totals stay exact."""
    sink = Collected(blocked=True)
    trace = Trace(sinks=[sink])
    native.hv.trace = trace
    native.call("component_errtrans", 1)
    while not sink.records:
        time.sleep(0.001)
    many(native, WAITING + 5000)
    assert trace.lost == 5000
    assert trace.counts() == {ERRTRANS: WAITING + 5001}
    assert "+++ 5000 records lost +++" in trace.summary()
    sink.go.set()
    native.hv.trace = None
    assert sink.lost == trace.lost == 5000
    assert len(sink.records) == WAITING + 1
    assert [r.seq for r in sink.records] == list(range(1, WAITING + 2))


def test_python_never_waits_for_a_sink(native: Setup) -> None:
    """Its records wait in line, and are lost when that is too long."""
    sink = Collected(blocked=True)
    trace = Trace(sinks=[sink], names=["curlwp"])
    native.hv.trace = trace
    native.call("curlwp")
    while not sink.records:
        time.sleep(0.001)
    trace._journal._limit = 10
    for _ in range(15):
        native.call("curlwp")
    assert trace.lost == 5
    sink.go.set()
    native.hv.trace = None
    assert (len(sink.records), sink.lost) == (11, 5)


def test_a_rebind_is_followed(native: Setup) -> None:
    """From C to other C, to Python and back, in the middle of a trace."""
    trace = Trace()
    native.hv.trace = trace
    answers = [native.call("component_errtrans", -5)]
    native.hv.bind("component_errtrans", c_function("ffs"))
    answers.append(native.call("component_errtrans", 8))
    native.hv.bind("component_errtrans", lambda number: number + 1)
    answers.append(native.call("component_errtrans", 8))
    native.hv.bind("component_errtrans", c_function("abs"))
    answers.append(native.call("component_errtrans", -6))
    native.hv.trace = None
    answers.append(native.call("component_errtrans", -7))
    assert answers == [5, 4, 9, 6, 7]
    assert [r.result.split()[0] for r in trace.records] == ["5", "4", "9", "6"]
    assert trace.counts() == {ERRTRANS: 4}


def test_filters_by_name_duration_and_thread(native: Setup) -> None:
    """What is not wanted goes straight to its C code; the rest is counted."""
    trace = Trace(names=["component_errtrans"])
    native.hv.trace = trace
    native.call("clock_sleep", 1, 0, 0)
    native.call("component_errtrans", 1)
    assert trace.counts() == {ERRTRANS: 1}
    native.hv.trace = trace = Trace(slower_than=0.05)
    native.call("clock_sleep", 1, 0, 0)
    native.call("clock_sleep", 50_100, 0, 0)
    assert [record.arguments[0] for record in trace.records] == ["50100"]
    assert trace.counts() == {"rumpuser_clock_sleep": 2}

    def work() -> None:
        native.call("curlwpop", 0, 0x1000)  # as a kernel's thread begins
        native.call("component_errtrans", 1)
        native.call("clock_sleep", 1, 0, 0)
        native.call("clock_sleep", 50_100, 0, 0)
        native.call("curlwp")

    for wanted in ("mine", "m?n*", None):
        thread = threading.Thread(target=work, name="mine")
        other = threading.Thread(target=work, name="other")
        selection = [wanted] if wanted else [threading.get_native_id()]
        native.hv.trace = trace = Trace(threads=selection, slower_than=0.05)
        for one in (thread, other):
            one.start()
            while one.is_alive():  # it may be forgotten once it is joined
                trace.flush()
        if not wanted:
            work()
        native.hv.trace = None
        assert [record.arguments[0] for record in trace.records] == ["50100"]
        assert trace.counts() == {
            "rumpuser_clock_sleep": 2, ERRTRANS: 1, "rumpuser_curlwp": 1,
            "rumpuser_curlwpop": 1,
        }  # fmt: skip
        assert [r.thread_name for r in trace.records] == [
            "mine" if wanted else "MainThread"
        ]


def test_calls_with_text_are_shown_live(native: Setup) -> None:
    """Though C answers: they are few, and an address says nothing."""
    types = (ctypes.c_char_p, c_void_p, c_size_t)
    getparam = ctypes.CFUNCTYPE(c_int, *types)(lambda name, buffer, length: 2)
    native.hv.bind("getparam", ctypes.cast(getparam, c_void_p).value or 0)
    trace = Trace(keep=10)
    native.hv.trace = trace
    native.call("getparam", b"HOME", None, 8)
    (record,) = trace.records
    assert (record.arguments[0], record.result) == ('"HOME"', "2 ENOENT")
    native.hv.trace = counting = Trace(keep=0)
    native.call("getparam", b"HOME", None, 8)
    assert counting.totals()["rumpuser_getparam"].errors == 1


def test_a_variadic_call_that_c_answers(native: Setup) -> None:
    """Python sees the format's arguments; C gets them all."""
    seen: list[tuple[int, ...]] = []
    words = [ctypes.c_size_t] * 13
    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, *words)
    target = kind(lambda *values: seen.append(values[:4]))
    native.hv.bind("dprintf", ctypes.cast(target, c_void_p).value or 0)
    call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, c_int, c_int, ctypes.c_char_p)
    for trace in (Trace(), Trace(keep=0)):
        native.hv.trace = trace
        address = native.hv.symbol("rumpuser_dprintf")
        call(address)(b"%d %d %s", 1, 2, b"three")
        assert trace.counts() == {"rumpuser_dprintf": 1}
        for record in trace.records:
            assert record.arguments == ('"%d %d %s"', "1", "2", '"three"')
    assert [values[1:3] for values in seen] == [(1, 2), (1, 2)]
