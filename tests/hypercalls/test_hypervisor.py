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

from rumphyper.errors import UnsupportedError
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.families.clock import Clock
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.upcalls import Upcalls
from tests.hypercalls.support import Setup, run_python
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
