"""Traces come and go while the kernel and its threads go on."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import threading
import time
from ctypes import c_void_p

import pytest

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.answer import _forever
from rumphyper.hypercalls.trace import Trace
from tests.hypercalls.support import Setup, run_python
from tests.hypercalls.tracing import ERRTRANS, Collected, many

pytestmark = pytest.mark.skipif(not supported(), reason="no thunks here")


def test_one_trace_after_another(native: Setup) -> None:
    """What one has seen is its own; one may be set again, but not twice."""
    one, two = Trace(), Trace()
    for trace in (one, two, one):
        native.hv.trace = trace
        many(native, 10)
    other = Setup()
    with pytest.raises(UnsupportedError, match="another hypervisor"):
        other.hv.trace = one
    assert other.hv.trace is None
    native.hv.trace = None
    many(native, 5)
    other.hv.trace = one
    other.call("curlwp")
    other.hv.close()
    assert one.counts() == {ERRTRANS: 20, "rumpuser_curlwp": 1}
    assert two.counts() == {ERRTRANS: 10}
    assert len(one.records) == 21


def test_threads_that_die_and_numbers_that_come_again(native: Setup) -> None:
    """Every record has the thread that made the call, also when many follow.

    The call by which threads are known need not be among those recorded.
    """
    trace = Trace(names=["component_errtrans"])
    native.hv.trace = trace
    expected = []

    def work(number: int) -> None:
        expected.append((str(number), f"worker{number}", threading.get_native_id()))
        native.call("curlwpop", 0, 0x1000)  # as a kernel's thread begins
        native.call("component_errtrans", number)

    for number in range(1000, 1030):
        thread = threading.Thread(target=work, args=(number,), name=f"worker{number}")
        thread.start()
        thread.join()
    seen = [
        (record.arguments[0], record.thread_name, record.thread)
        for record in trace.records
        if record.name == ERRTRANS
    ]
    assert seen == expected


def test_a_kernels_thread_from_begin_to_end(native: Setup) -> None:
    """Named by rumpuser_thread_create; its end, which does not return, is seen."""
    trace = Trace()
    native.hv.trace = trace
    cookie = c_void_p()
    leave = c_void_p(native.hv.symbol("rumpuser_thread_exit"))
    arguments = (None, b"rump/1", 1, 0, -1, ctypes.byref(cookie))
    native.call("thread_create", leave, *arguments)
    native.call("thread_join", cookie)
    ends = [r for r in trace.records if r.name == "rumpuser_thread_exit"]
    assert [(r.arguments, r.result, r.duration) for r in ends] == [((), "?", 0)]
    assert ends[0].thread != threading.get_native_id()
    made = next(r for r in trace.records if r.name == "rumpuser_thread_create")
    assert made.arguments[2] == '"rump/1"'


def test_set_and_cleared_under_traffic(native: Setup) -> None:
    """Four threads notice nothing; each trace has what fell into its time."""
    over = threading.Event()
    wrong: list[int] = []

    def work() -> None:
        call = native.hv.function("component_errtrans")
        curlwp = native.hv.function("curlwp")
        number = 0
        while not over.is_set():
            number = (number + 1) % 1_000_000
            if call(-number) != number:
                wrong.append(number)
            curlwp()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    sink = Collected()
    trace = Trace(sinks=[sink], keep=0)
    try:
        for _ in range(25):
            for one in (Trace(keep=500), Trace(keep=0), trace):
                native.hv.trace = one
                begun, deadline = sum(one.counts().values()), time.monotonic() + 20
                while sum(one.counts().values()) < begun + 100:
                    assert time.monotonic() < deadline
                    time.sleep(0.001)
                native.hv.trace = None
                time.sleep(0.001)  # for calls that were under way
                counts = one.counts()
                assert counts[ERRTRANS] > 0
                if one.detailed and one is not trace:
                    seqs = [record.seq for record in one.records]
                    assert 0 < len(seqs) <= 500
                    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
                time.sleep(0.001)
                assert counts == one.counts()  # nothing comes any more
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert native.reports == []
    # One call of each thread may be under way when the trace is cleared: it is
    # counted then, and has no record.
    missing = sum(trace.counts().values()) - len(sink.records) - trace.lost
    assert 0 <= missing <= 25 * len(threads)


def test_a_hundred_cycles_leave_nothing_behind(native: Setup) -> None:
    """Neither callbacks nor threads, descriptors nor mappings."""

    def cycle() -> None:
        for trace in (Trace(), Trace(keep=0), Trace(sinks=[Collected()])):
            native.hv.trace = trace
            native.hv.counting = True
            native.call("component_errtrans", 1)
            native.hv.trace = None
            native.hv.counting = False

    def left() -> tuple[int, ...]:
        gc.collect()
        with open("/proc/self/maps") as maps:
            mappings = sum(1 for _ in maps)
        kept = len(_forever) + len(native.hv._board._answers)
        descriptors = len(os.listdir("/proc/self/fd"))
        return kept, threading.active_count(), descriptors, mappings

    cycle()
    before = left()
    for _ in range(100):
        cycle()
    after = left()
    assert after[:3] == before[:3]
    assert after[3] <= before[3] + 3  # Python's own heap may grow


BEGIN = """
import os, sys, threading, time
from tests.hypercalls.support import Setup
from tests.hypercalls.tracing import bind, many
from rumphyper.hypercalls.trace import Trace
setup = Setup(trace=Trace(sys.stdout if TEXT else None, names=[NAME]))
bind(setup.hv)
call = setup.hv.function(NAME)
call(-3)
"""


def ended(text: bool, source: str) -> list[str]:
    """What a traced process printed until its good end."""
    names = f"TEXT, NAME = {text}, 'component_errtrans'"
    # Python 3.12 and later warn of every fork beside threads.
    calm = "ignore:This process:DeprecationWarning"
    done = run_python(f"{names}\n{BEGIN}\n{source}", PYTHONWARNINGS=calm)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_text_is_complete_at_the_end_of_the_process() -> None:
    """With Python's threads still at it."""
    lines = ended(
        True,
        "def loop():\n"
        "    while True: call(5); time.sleep(0.0001)\n"
        "threading.Thread(target=loop, daemon=True).start()\n"
        "time.sleep(0.1)\n"
        "call(-77)\n",
    )
    assert f"{ERRTRANS}(-3) = 3 ESRCH" in lines[0]
    assert any(f"{ERRTRANS}(-77) = 77 ENOLCK" in line for line in lines)


def test_c_goes_on_while_the_process_ends() -> None:
    """A thread that never leaves C calls through the tap, then past it."""
    # What can be read before others come in its place, ten times as fast as a
    # kernel: now and then nothing, when the reader is stopped for a while.
    lines = ended(
        False,
        "loop = threading.Thread(target=many, args=(setup, 1 << 60), daemon=True)\n"
        "loop.start()\n"
        "end = time.monotonic() + 20\n"
        "while len(setup.hv.trace.records) < 1000:\n"
        "    assert time.monotonic() < end\n"
        "print('read')\n",
    )
    assert lines == ["read"]


def test_a_fork_tells_nothing_twice() -> None:
    """The child's calls are its own affair, in records as in text."""
    fork = (
        "before = setup.hv.trace\n"
        "call(-7)\n"
        "sys.stdout.flush()\n"
        "child = os.fork()\n"
        "call(-8 if child else -9)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    calls = [re.sub(r".*\((.*)\).*", r"\1", line) for line in ended(True, fork)]
    assert calls == ["-3", "-7", "-8"]
    shown = "print(os.getpid() == child, [r.arguments[0] for r in before.records])\n"
    lines = ended(False, fork.replace("if child:", "if child: pass\nif child:") + shown)
    assert sorted(lines) == ["False ['-3', '-7', '-8']", "False ['-3', '-7', '-9']"]


def test_a_fork_in_the_middle_of_everything() -> None:
    """Whatever other threads are at, the child's end is not held up."""
    lines = ended(
        True,
        "trace = setup.hv.trace\n"
        "def loop():\n"
        "    while True: call(5); trace.counts(); time.sleep(0.0001)\n"
        "for _ in range(3): threading.Thread(target=loop, daemon=True).start()\n"
        "for _ in range(40):\n"
        "    child = os.fork()\n"
        "    if not child: sys.exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
        "call(-77)\n",
    )
    assert sum(f"{ERRTRANS}(-3)" in line for line in lines) == 1
    assert sum(f"{ERRTRANS}(-77)" in line for line in lines) == 1
