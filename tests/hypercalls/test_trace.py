"""The trace: records, counts, filters, and what it survives."""

from __future__ import annotations

import ctypes
import io
import re
import threading
from ctypes import byref, c_void_p

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.trace import Trace
from tests.hypercalls.support import Setup, run_python

LINE = re.compile(r" *\d+\.\d{6} \[\d+ [^\]]+\] \w+\(.*\)( = \S.*)? <\d+\.\d{6}>$")


@pytest.fixture
def traced() -> tuple[Setup, Trace]:
    """A hypervisor that is traced from the start."""
    trace = Trace()
    return Setup(trace=trace), trace


def test_records_and_text_agree() -> None:
    """Each call is one line in a fixed form and one record, in the same order."""
    stream = io.StringIO()
    trace = Trace(stream)
    setup = Setup(trace=trace)
    for _ in range(3):
        setup.call("curlwp")
    setup.call("open", b"/no/such/file", 0, None)
    trace.flush()
    lines = stream.getvalue().splitlines()
    assert lines == [record.line() for record in trace.records]
    assert all(LINE.match(line) for line in lines)
    assert [record.seq for record in trace.records] == [1, 2, 3, 4, 5]
    assert [record.name for record in trace.records] == [
        "rumpuser_init", *["rumpuser_curlwp"] * 3, "rumpuser_open"
    ]  # fmt: skip
    failed = trace.records[-1]
    assert (failed.errno, failed.result) == (2, "2 ENOENT")
    assert failed.arguments == ('"/no/such/file"', "RUMPUSER_OPEN_RDONLY", "NULL")
    assert failed.as_dict()["thread_name"] == "MainThread"
    starts = [record.start for record in trace.records]
    assert starts == sorted(starts)
    assert trace.counts() == {
        "rumpuser_curlwp": 3, "rumpuser_init": 1, "rumpuser_open": 1
    }  # fmt: skip
    assert trace.totals()["rumpuser_open"].errors == 1


def test_durations(traced: tuple[Setup, Trace]) -> None:
    """A call's time is its own, in nanoseconds."""
    setup, trace = traced
    setup.call("clock_sleep", 0, 0, 20_000_000)
    assert 20_000_000 <= trace.records[-1].duration < 1_000_000_000
    assert trace.totals()["rumpuser_clock_sleep"].nanoseconds >= 20_000_000


def test_filters() -> None:
    """By family, by name, by duration; counts do not depend on the last."""
    trace = Trace(families=["clock"], names=["curlwp", "rumpuser_free"])
    setup = Setup(trace=trace)
    setup.call("clock_sleep", 0, 0, 0)
    setup.call("curlwp")
    setup.call("free", None, 0)
    setup.call("component_errtrans", 1)
    assert trace.counts() == dict.fromkeys(
        ["rumpuser_clock_sleep", "rumpuser_curlwp", "rumpuser_free"], 1
    )
    slow = Trace(slower_than=0.01)
    setup = Setup(trace=slow)
    setup.call("curlwp")
    setup.call("clock_sleep", 0, 0, 11_000_000)
    assert [record.name for record in slow.records] == ["rumpuser_clock_sleep"]
    assert slow.counts()["rumpuser_curlwp"] == 1
    with pytest.raises(UnsupportedError):
        Trace(families=["nonsense"])
    with pytest.raises(UnsupportedError):
        Trace(names=["nonsense"])


def test_bounded() -> None:
    """Only the newest records are kept; with none, calls are still counted."""
    trace = Trace(keep=3)
    setup = Setup(trace=trace)
    for _ in range(5):
        setup.call("curlwp")
    assert [record.seq for record in trace.records] == [4, 5, 6]
    counting = Trace(keep=0)
    setup = Setup(trace=counting)
    setup.call("curlwp")
    assert counting.records == []
    assert counting.counts()["rumpuser_curlwp"] == 1


def test_on_and_off(setup: Setup) -> None:
    """A trace may begin and end while the kernel runs, whoever answers."""
    libc = ctypes.CDLL(None)
    setup.hv.bind("component_errtrans", ctypes.cast(libc.abs, c_void_p).value or 0)
    trace = Trace()
    for _ in range(2):
        assert setup.call("component_errtrans", -3) == 3
        setup.call("curlwp")
        setup.hv.trace = trace
        assert setup.call("component_errtrans", -3) == 3
        setup.call("curlwp")
        setup.hv.bind("curlwp", lambda: 0x5000)
        assert setup.call("curlwp") == 0x5000
        setup.hv.trace = None
    assert trace.counts() == {"rumpuser_curlwp": 4, "rumpuser_component_errtrans": 2}


def test_threads(traced: tuple[Setup, Trace]) -> None:
    """Each record names its thread: Python's name, or the one from the kernel."""
    setup, trace = traced
    thread = threading.Thread(target=lambda: setup.call("curlwp"), name="mine")
    thread.start()
    thread.join()
    assert trace.records[-1].thread_name == "mine"
    cookie = c_void_p()
    sleep = c_void_p(setup.hv.symbol("rumpuser_component_unschedule"))
    setup.call("thread_create", sleep, None, b"rump/1", 1, 0, -1, byref(cookie))
    setup.call("thread_join", cookie)
    by_name = {record.name: record for record in trace.records}
    made = by_name["rumpuser_component_unschedule"]
    assert made.thread != threading.get_native_id()
    assert by_name["rumpuser_thread_join"].thread == threading.get_native_id()


def test_many_threads_at_once(traced: tuple[Setup, Trace]) -> None:
    """No call is lost or torn."""
    setup, trace = traced
    curlwp = setup.hv.function("curlwp")

    def work() -> None:
        for _ in range(500):
            curlwp()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trace.counts()["rumpuser_curlwp"] == 3000
    assert [r.seq for r in trace.records] == list(range(1, len(trace.records) + 1))


@pytest.mark.skipif(not supported(), reason="no thunks on this architecture")
def test_calls_that_do_not_return() -> None:
    """thread_exit is libc's own and is seen all the same; so is exit."""
    trace = Trace()
    setup = Setup(trace=trace)
    cookie = c_void_p()
    leave = c_void_p(setup.hv.symbol("rumpuser_thread_exit"))
    setup.call("thread_create", leave, None, b"brief", 1, 0, -1, byref(cookie))
    setup.call("thread_join", cookie)
    ends = [r for r in trace.records if r.name == "rumpuser_thread_exit"]
    assert [(r.arguments, r.result) for r in ends] == [((), "?")]
    done = run_python(
        "import sys\n"
        "from tests.hypercalls.support import Setup\n"
        "from rumphyper.hypercalls.trace import Trace\n"
        "Setup(trace=Trace(sys.stdout)).call('rumpuser_exit', -1)\n"
    )
    assert "rumpuser_exit(RUMPUSER_PANIC) = ?" in done.stdout


class Broken(io.StringIO):
    """A stream that fails."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "the reader has gone")


def test_a_stream_that_fails() -> None:
    """Tracing ends there; the kernel notices nothing."""
    trace = Trace(Broken())
    setup = Setup(trace=trace)
    assert setup.call("component_errtrans", 2) == 2
    trace.flush()
    assert trace.stream is None
    assert trace.counts()["rumpuser_component_errtrans"] == 1
    assert setup.reports == []
