"""Calls that fail and calls that are slow, on a hypervisor without a kernel."""

from __future__ import annotations

import ctypes
import threading
import time
from ctypes import byref, c_void_p
from typing import Any

import pytest

from rumphyper.errors import FaultError, UnsupportedError
from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.faults import Failing, When, parse_fault
from tests.hypercalls.support import Setup, put

LIBC = ctypes.CDLL(None)


def malloc(setup: Setup) -> int:
    """An allocation that is given back; its errno."""
    memory = c_void_p(0xDEAD)
    error: int = setup.call("malloc", 64, 0, byref(memory))
    assert (memory.value is None) == (error != 0)
    if not error:
        setup.call("free", memory, 64)
    return error


def failures(setup: Setup, calls: int) -> list[int]:
    """Which of the next ``calls`` allocations fail, counted from 1."""
    return [n for n in range(1, calls + 1) if malloc(setup)]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("nth=3", [3]),
        ("nth=1", [1]),
        ("every=4", [4, 8, 12]),
        ("from=10", [10, 11, 12]),
        ("from=5,every=4", [8, 12]),
        ("every=2,times=3", [2, 4, 6]),
        ("from=4,times=2", [4, 5]),
        ("p=100%,times=1", [1]),
        ("p=0%", []),
        ("times=2", [1, 2]),
    ],
)
def test_which_calls_fail(setup: Setup, when: str, expected: list[int]) -> None:
    fault = put(setup, f"malloc:{when}")
    assert failures(setup, 12) == expected
    assert (fault.calls, fault.injected) == (12, len(expected))
    assert setup.reports == []


def test_without_a_condition_every_call_fails(setup: Setup) -> None:
    put(setup, "malloc")
    assert failures(setup, 3) == [1, 2, 3]


def test_probability_is_seeded(setup: Setup) -> None:
    """The same seed is the same run; another one is another."""

    def run(text: str) -> list[int]:
        fault = put(setup, text)
        found = failures(setup, 2000)
        fault.detach()
        return found

    first = run("malloc:p=10%,seed=5")
    assert 140 <= len(first) <= 260  # 200 expected, 4.5 deviations
    assert run("malloc:p=0.1,seed=5") == first
    assert run("malloc:p=10%,seed=6") != first
    assert run("malloc:p=10%") == run("malloc:p=10%,seed=0")


@pytest.mark.parametrize(
    ("text", "call", "errno"),
    [
        ("malloc", (64, 0, byref(c_void_p())), Errno.ENOMEM),
        ("anonmmap:nth=1", (None, 4096, 0, 0, byref(c_void_p())), Errno.ENOMEM),
        ("open:errno=EACCES", (b"/", 0, byref(ctypes.c_int())), Errno.EACCES),
        ("rumpuser_getparam", (b"HOME", None, 0), Errno.EINVAL),
        ("thread_create", (None, None, None, 0, 0, -1, None), Errno.EAGAIN),
        ("cv_timedwait", (None, None, 1, 0), Errno.ETIMEDOUT),
        ("virt_create:errno=EBUSY", (b"0", None, None, None), Errno.EBUSY),
        ("getrandom:p=1,seed=3", (None, 4, 0, None), Errno.EIO),
    ],
)
def test_the_errno(
    setup: Setup, text: str, call: tuple[Any, ...], errno: Errno
) -> None:
    """The catalogue's, or the one that is named; the answer is not asked for."""
    fault = put(setup, text)
    (name,) = fault.arounds
    assert setup.call(name, *call) == errno
    assert setup.reports == []


def test_what_can_fail() -> None:
    """Exactly the hypercalls whose result is an errno; the others say why."""
    reasons = {}
    for name, call in CATALOGUE.items():
        try:
            Failing(name, When())
        except FaultError as error:
            reasons[name] = error.cause
            assert not call.fails_with_errno
        else:
            assert call.fails_with_errno
    assert reasons["rumpuser_mutex_enter"] == "it has no result to fail with"
    assert reasons["rumpuser_exit"] == "it does not return"
    assert "the lwp of the last SET" in reasons["rumpuser_curlwp"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mallok:nth=1", ["not in the catalogue", "malloc", "faulty:"]),
        ("", ["not in the catalogue"]),
        ("malloc:nth=0", ["nth=0: not a number of at least 1", "settings: nth"]),
        ("malloc:nth=1,nth=2", ["'nth' is given twice"]),
        ("malloc:nth", ["'nth' has no value"]),
        ("malloc:nth=1;p=2", ["nth=1;p=2"]),
        ("malloc:n=3", ["'n=3' is no setting", "every"]),
        ("malloc:p=200%", ["at most 1"]),
        ("malloc:p=nan", ["at most 1"]),
        ("malloc:p=-1%", ["at most 1"]),
        ("malloc:errno=ENOTHING", ["NetBSD's have names like ENOMEM"]),
        ("malloc:errno=EIO,delay=1s", ["two faults"]),
        ("malloc:seed=3", ["without a probability"]),
        ("malloc:nth=" + "9" * 5000, ["not a number"]),
        ("free:nth=1", ["no result to fail with", "delay=TIME"]),
        ("dprintf:nth=1", ["choose another"]),
        ("bio:delay=-1ms", ["not negative"]),
        ("bio:delay=5 ms", ["one of ns, us, ms, s"]),
        ("bio:delay=5x", ["one of ns, us, ms, s"]),
        ("bio:delay=101000d", ["100 years"]),
        ("clock", ["nothing is set", "settings: offset"]),
        ("clock:rate=0", ["between 0.001 and 1000"]),
        ("clock:rate=1e3", ["between 0.001 and 1000"]),
        ("clock:offset=-60000d", ["100 years"]),
        ("clock:wall.offset=-60000h,mono.offset=-60000h", ["before 0"]),
        ("clock:start=yesterday", ["2024-02-29T12:00:00"]),
        ("clock:nth=1", ["settings: offset"]),
        ("virt_send:drop=1%,nth=2", ["two kinds"]),
        ("virt_send:nth=2", ["cannot fail", "drop, corrupt, duplicate"]),
        ("virt_send:drop=lots", ["drop=lots: a probability is"]),
        ("getrandom:seed=-1", ["not a number"]),
    ],
)
def test_faults_that_cannot_be(text: str, words: list[str]) -> None:
    """Each says what is wrong and what is known."""
    with pytest.raises(FaultError) as caught:
        parse_fault(text)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["exit", "thread_exit", "dprintf"])
def test_delays_that_cannot_be(name: str) -> None:
    with pytest.raises(UnsupportedError, match="Around of"):
        parse_fault(f"{name}:delay=1s")


def test_before_c_code_too(setup: Setup) -> None:
    """The answer may be the address of C code, also one that is bound later."""
    fault = put(setup, "thread_join:every=2,errno=ESRCH")
    for target in (lambda cookie: 7, ctypes.cast(LIBC.abs, c_void_p).value or 0):
        setup.hv.bind("thread_join", target)
        assert [setup.call("thread_join", 7) for _ in range(4)] == [7, 3, 7, 3]
    assert fault.injected == 4


def test_detaching_gives_the_answers_back(setup: Setup) -> None:
    fault = put(setup, "malloc:from=2")
    assert failures(setup, 2) == [2]
    fault.detach()
    fault.detach()
    assert failures(setup, 3) == []
    assert fault.calls == 2


def test_giving_way(setup: Setup) -> None:
    """While Ctrl-C waits for the main thread, nothing fails."""
    waiting: list[int] = []
    setup.hv.interrupted = lambda: waiting
    fault = put(setup, "malloc")
    assert failures(setup, 2) == [1, 2]
    waiting.append(2)
    assert failures(setup, 2) == []
    waiting.clear()
    assert failures(setup, 2) == [1, 2]
    assert (fault.calls, fault.injected) == (6, 4)


def test_two_faults_of_one_hypercall(setup: Setup) -> None:
    """The one that is added last is asked first and hides its calls."""
    inner, outer = put(setup, "malloc:nth=1"), put(setup, "malloc:nth=2")
    assert failures(setup, 4) == [1, 2]
    assert (inner.calls, outer.calls) == (3, 4)


def test_the_first_strike_is_told(setup: Setup) -> None:
    told: list[str] = []
    fault = put(setup, "malloc:every=2")
    fault.tell = told.append
    failures(setup, 6)
    assert told == ["fault malloc:every=2: call 2 of rumpuser_malloc fails with ENOMEM"]


def test_counting_is_exact_with_threads(setup: Setup) -> None:
    fault = put(setup, "malloc:every=3")
    failed: list[int] = []

    def work() -> None:
        failed.append(len(failures(setup, 500)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(failed) == 1000
    assert (fault.calls, fault.injected) == (3000, 1000)


def test_delays_give_up_the_cpu(setup: Setup) -> None:
    """A call that may wait does so without the virtual CPU, others with it."""
    fault = put(setup, "open:delay=30ms,nth=2")
    other = put(setup, "getparam:delay=30ms")
    fd = ctypes.c_int()
    spans = []
    for _ in range(2):
        before = len(setup.kernel.events)
        began = time.monotonic()
        assert setup.call("open", b"/no/such", 0, byref(fd)) == Errno.ENOENT
        names = [name for name, _, _ in setup.kernel.events[before:]]
        spans.append((time.monotonic() - began, len(names)))
    assert [upcalls for _, upcalls in spans] == [2, 4]  # in pairs
    assert spans[1][0] >= 0.03
    schedules = setup.kernel.events[-3]
    assert schedules[0] == "hyp_backend_schedule"
    assert schedules[2][0] == setup.kernel.locks
    before = len(setup.kernel.events)
    assert setup.call("getparam", b"NO_SUCH_NAME", None, 0) == Errno.ENOENT
    assert len(setup.kernel.events) == before
    assert (fault.waited, other.waited) == (0.03, 0.03)


def test_unstarted_hypervisors(setup: Setup) -> None:
    """A fault may be there before the symbols are."""
    from rumphyper.hypercalls.hypervisor import Hypervisor
    from rumphyper.hypercalls.python import python_families

    hypervisor = Hypervisor(python_families())
    fault = parse_fault("getparam:nth=1,errno=EPERM")
    fault.attach(hypervisor)
    with hypervisor:
        function = hypervisor.function("getparam")
        assert function(b"x", None, 0) == Errno.EPERM
        assert function(b"NO_SUCH_NAME", None, 0) == Errno.ENOENT


@pytest.mark.parametrize("native", [False, True])
def test_an_around_that_raises(setup: Setup, native: bool) -> None:
    """A user's mistake becomes the hypercall's errno and is reported once."""

    def wrong(original: Any, cookie: int) -> int:
        result: int = original(cookie)
        return result // 0

    if native:
        address = ctypes.cast(LIBC.abs, c_void_p).value
        assert address is not None
        setup.hv.bind("thread_join", address)
    setup.hv.add_around("thread_join", Around(wrong))
    for _ in range(3):
        assert setup.call("thread_join", 1) == Errno.EINVAL
    (report,) = (text for text in setup.reports if "exception in" in text)
    assert "rumpuser_thread_join" in report
    assert "ZeroDivisionError" in report
