"""What C gets when what answers raises, gives nonsense, or is missing."""

from __future__ import annotations

import time
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import HostError, RumphyperError
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.report import HypercallError, Reporter
from tests.hypercalls.support import Setup, run_python, shared_object

RAISES = {
    OSError(28, "full"): Errno.ENOSPC,
    OSError(11, "again"): Errno.EAGAIN,
    OSError("without a number"): Errno.EIO,
    HostError("thing", "cause", errno=16): Errno.EBUSY,
    HypercallError("thing", "cause", errno=Errno.EPROTO): Errno.EPROTO,
    MemoryError(): Errno.ENOMEM,
    ZeroDivisionError("bug"): Errno.EAGAIN,
    SystemExit(3): Errno.EAGAIN,
}


@pytest.mark.parametrize("error", RAISES, ids=repr)
def test_exceptions_become_errno(setup: Setup, error: BaseException) -> None:
    """Of what Python raises, C sees the errno; people see it once."""

    def raises(*values: Any) -> int:
        raise error

    # thread_create's own errno for failure is EAGAIN
    setup.hv.bind("thread_create", raises)
    arguments = (None, None, None, 0, 0, -1, None)
    for _ in range(3):
        assert setup.call("thread_create", *arguments) == RAISES[error]
    assert len(setup.reports) == 1
    assert "rumpuser_thread_create" in setup.reports[0]
    traced = not isinstance(error, RumphyperError)
    assert ("Traceback" in setup.reports[0]) == traced
    assert list(setup.hv.reporter.problems.values()) == [3]


def test_interrupts_are_not_lost(setup: Setup) -> None:
    """Ctrl-C in a hypercall fails the call, and comes again behind it."""

    def interrupted(cookie: int) -> int:
        raise KeyboardInterrupt

    setup.hv.bind("thread_join", interrupted)
    results: list[int] = []

    def call() -> None:
        results.append(setup.call("thread_join", None))
        time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        call()
    assert results == [Errno.EINTR]
    assert "raised inside a hypercall" in setup.reports[0]


END = """
import ctypes, threading
from tests.hypercalls.support import Setup
setup = Setup()
judge = ctypes.CDLL({judge!r})
judge.keep_calling(ctypes.c_void_p(setup.hv.symbol("rumpuser_curlwp")), 8)
threading.Event().wait(0.05)
print("end")
"""

CALLER = """
#include <pthread.h>
#include <stddef.h>
static void *loop(void *f) { for (;;) ((void *(*)(void))f)(); return NULL; }
void keep_calling(void *f, int n)
{
    pthread_t t;
    while (n-- > 0)
        pthread_create(&t, NULL, loop, f);
}
"""


def test_the_end_of_the_process(tmp_path: Path) -> None:
    """Threads of C that keep calling do not disturb the interpreter's end."""
    judge = shared_object(tmp_path, CALLER)._name
    for _ in range(3):
        done = run_python(END.format(judge=judge))
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_exceptions_for_other_results(setup: Setup) -> None:
    """void returns, pointers are NULL; also for calls with many arguments."""

    def raises(*values: Any) -> int:
        raise RuntimeError(str(len(values)))

    results = {}
    for call in CATALOGUE.values():
        if call.noreturn or call.variadic:
            continue
        setup.hv.bind(call.name, raises)
        zeros = [0 if not a.type.pointer else None for a in call.arguments]
        results[call.name] = setup.call(call.name, *zeros)
    for name, result in results.items():
        call = CATALOGUE[name]
        if call.fails_with_errno:
            assert result == call.failure > 0
        elif name == "rumpuser_component_errtrans":
            assert result == Errno.EINVAL
        else:
            assert not result
    assert len(setup.reports) == len(results)


def test_results_that_are_no_numbers(setup: Setup) -> None:
    """A function that returns nonsense fails like one that raises."""
    wrong: tuple[Any, ...] = ("text", None, 3.5, [], 1 << 200, -(1 << 31) - 1)
    for nonsense in wrong:
        setup.hv.bind("component_errtrans", lambda number, n=nonsense: n)
        assert setup.call("component_errtrans", 5) == Errno.EINVAL
        setup.hv.bind("thread_join", lambda cookie, n=nonsense: n)
        assert setup.call("thread_join", None) == Errno.EINVAL
    setup.hv.bind("thread_join", lambda cookie: True)
    assert setup.call("thread_join", None) == 1


def test_reporter_that_fails() -> None:
    """A report that cannot be written is no reason to crash."""

    def broken(text: str) -> None:
        raise OSError("no terminal")

    hypervisor = Hypervisor([], reporter=Reporter(broken)).start()
    assert hypervisor.function("sp_init")(b"", b"", b"", b"") == Errno.ENOSYS


def test_missing_ones() -> None:
    """What nobody provides fails with ENOSYS and says who could."""
    setup = Setup(families=[])
    assert setup.call("malloc", 1, 0, byref(c_void_p())) == Errno.ENOSYS
    assert setup.call("component_unschedule") is None
    assert "add the family 'memory'" in setup.reports[0]
    setup.hv.bind("component_errtrans", abs)
    assert setup.call("component_errtrans", -3) == 3


def test_void_hypercall_that_nobody_answers() -> None:
    """The kernel cannot be told: the process ends, and says what it lacks."""
    done = run_python(
        "from tests.hypercalls.support import Setup\n"
        "Setup(families=[]).call('free', None, 0)\n"
        "print('not reached')\n"
    )
    assert done.returncode == -6
    assert done.stdout == ""
