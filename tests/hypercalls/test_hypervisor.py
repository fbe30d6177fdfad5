"""Binding, overriding, failing: what answers, and what C gets when it cannot."""

from __future__ import annotations

import ctypes
import subprocess
import threading
import time
from ctypes import byref, c_int64, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import pytest

from rumphyper.errors import HostError, RumphyperError, UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.clock import Clock
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.report import HypercallError, Reporter
from rumphyper.hypercalls.upcalls import Upcalls
from tests.hypercalls.support import Setup, run_python, shared_object
from tests.judges import tool

LIBC = ctypes.CDLL(None)


def address(function: Any) -> int:
    """The address of a C function."""
    return ctypes.cast(function, c_void_p).value or 0


def getrandom(setup: Setup) -> tuple[int, bytes]:
    """Result and octets of getrandom for 4 octets."""
    buffer, done = ctypes.create_string_buffer(8), c_size_t()
    result = setup.call("getrandom", buffer, 4, 0, byref(done))
    return result, buffer.raw[: done.value]


def four(buf: int, buflen: int, flags: int, retp: Any) -> int:
    """A getrandom that a user might write."""
    ctypes.memmove(buf, b"4444", 4)
    retp[0] = 4
    return 0


class Skewed(Clock):
    """A clock that a user might write: an hour ahead."""

    def clock_gettime(self, clock: int, sec: Any, nsec: Any) -> int:
        result = super().clock_gettime(clock, sec, nsec)
        sec[0] += 3600
        return result


def test_override_by_name_and_family() -> None:
    """A function answers one name, an object a family; the rest stays."""
    setup = Setup(override={"getrandom": four, "clock": Skewed(Upcalls())})
    assert getrandom(setup) == (0, b"4444")
    sec, nsec, plain = c_int64(), c_long(), c_int64()
    setup.call("clock_gettime", 1, byref(sec), byref(nsec))
    Setup().call("clock_gettime", 1, byref(plain), byref(nsec))
    assert 3599 <= sec.value - plain.value <= 3600
    assert setup.hv.bindings["rumpuser_getrandom"].provider == "override"
    assert setup.hv.bindings["rumpuser_clock_gettime"].provider == "python"
    assert setup.hv.bindings["rumpuser_thread_exit"].provider == "libc"
    alone = Setup(families=[Skewed(Upcalls())])
    assert alone.hv.bindings["rumpcomp_pci_map"].provider == "none"


def test_override_by_c_code() -> None:
    """An address of C code answers by itself."""
    setup = Setup(override={"component_errtrans": address(LIBC.abs)})
    assert setup.call("component_errtrans", -5) == 5
    setup.hv.bind("component_errtrans", address(LIBC.toupper))
    assert setup.call("component_errtrans", ord("a")) == ord("A")


def test_binding_while_running(setup: Setup) -> None:
    """Answers may be exchanged at any time, also under load."""
    stop = threading.Event()
    seen: set[bytes] = set()

    def load() -> None:
        while not stop.is_set():
            seen.add(getrandom(setup)[1])

    thread = threading.Thread(target=load)
    thread.start()
    original = setup.hv.bindings["rumpuser_getrandom"].target
    assert original is not None
    end = time.monotonic() + 10
    while not (b"4444" in seen and len(seen) > 1):
        assert time.monotonic() < end
        setup.hv.bind("getrandom", four)
        assert getrandom(setup) == (0, b"4444")
        setup.hv.bind("getrandom", original)
        assert getrandom(setup)[1] != b"4444"
    stop.set()
    thread.join(10)
    assert setup.reports == []


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ({"nonsense": four}, "not in the catalogue"),
        ({"getrandom": lambda buf: 0}, "too many positional arguments"),
        ({"getrandom": lambda a, b, c, d, e: 0}, "missing a required argument"),
        ({"getrandom": "a string"}, "cannot answer it"),
        ({"dprintf": lambda text: None}, "and 13 machine words"),
        ({"memory": Clock(Upcalls())}, "answers the family 'clock'"),
    ],
)
def test_overrides_that_cannot_work(override: dict[str, Any], text: str) -> None:
    """They are refused before anything runs."""
    with pytest.raises(UnsupportedError, match=text):
        Hypervisor([], override=override)


def test_unknown_family() -> None:
    """A family must be one of the catalogue's."""

    class Odd(Family):
        family = "odd"

    with pytest.raises(UnsupportedError, match="family 'odd'"):
        Hypervisor([Odd()])


def test_not_started() -> None:
    """Symbols exist from start on."""
    with pytest.raises(UnsupportedError, match="has not been started"):
        Hypervisor([]).symbol("malloc")


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


DUMMY = "int rumpuser_component_errtrans(int n) { return -n; }"
NEEDS = """
int rumpuser_component_errtrans(int);
int ask(int n) { return rumpuser_component_errtrans(n); }
"""
LINKED = """
import ctypes
from tests.hypercalls.support import Setup
setup = Setup()
judge = ctypes.CDLL({path!r})
assert ctypes.CDLL(None).rumpuser_component_errtrans(11) == 35
print(judge.ask(11))
"""


@pytest.mark.skipif(not supported(), reason="no thunks on this architecture")
def test_symbols_are_what_the_linker_wants(tmp_path: Path) -> None:
    """A library that was linked with librumpuser.so.0 is content with ours.

    The one that it was linked with is gone when it is loaded.
    """
    gcc, dummy = tool("gcc"), tmp_path / "dummy.c"
    dummy.write_text(DUMMY)
    needs, library = tmp_path / "needs.c", tmp_path / "librumpuser.so"
    needs.write_text(NEEDS)
    options = ["-shared", "-fPIC"]
    soname = "-Wl,-soname,librumpuser.so.0"
    command = [gcc, *options, soname, "-o", str(library), str(dummy)]
    subprocess.run(command, check=True)
    judge = str(tmp_path / "needs.so")
    command = [gcc, *options, "-o", judge, str(needs), f"-L{tmp_path}", "-lrumpuser"]
    subprocess.run(command, check=True)
    library.unlink()
    done = run_python(LINKED.format(path=judge))
    assert (done.stdout, done.stderr) == ("35\n", "")


def test_void_hypercall_that_nobody_answers() -> None:
    """The kernel cannot be told: the process ends, and says what it lacks."""
    done = run_python(
        "from tests.hypercalls.support import Setup\n"
        "Setup(families=[]).call('free', None, 0)\n"
        "print('not reached')\n"
    )
    assert done.returncode == -6
    assert done.stdout == ""


def test_after_close(setup: Setup) -> None:
    """Closing twice is closing once; a late call does not crash."""
    setup.hv.close()
    setup.hv.close()
    assert setup.call("component_errtrans", 2) == 2


def test_symbols_of_a_hypervisor_that_was_abandoned() -> None:
    """What C has found stays the same; the second one answers from then on."""
    first = Hypervisor(python_families()).start()
    symbol = first.symbol("seterrno")
    slots = first.abandon()
    with pytest.raises(UnsupportedError, match="has not been started"):
        first.symbol("seterrno")
    seen: list[int] = []
    second = Hypervisor(python_families(), override={"seterrno": seen.append})
    second.start(slots)
    assert second.symbol("seterrno") == symbol
    ctypes.CFUNCTYPE(None, ctypes.c_int)(symbol)(7)
    first.park()
    first.bind("seterrno", print)
    ctypes.CFUNCTYPE(None, ctypes.c_int)(symbol)(8)
    assert seen == [7, 8]
    second.close()
