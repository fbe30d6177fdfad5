"""Two sides of each test: the stock librumpuser, and Python's families.

Both are called by the same prototypes and have a kernel's upcalls of the same
kind. Beside the thunks the stock library is opened with RTLD_DEEPBIND: it calls
itself by its own symbols (rumpuser_curlwp in each mutex_enter), which would be
those of the thunks, as these are global.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import threading
import time
from collections.abc import Callable
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Any

from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.kernel.libraries import Libraries
from tests.hypercalls.support import Kernel, run_python

PAGE = Path(__file__).parents[3] / "docs/hypercalls.md"
STOCK, PYTHON = "stock", "python"


class Side:
    """One of the two: calls by name, and the upcalls that it made."""

    def __init__(
        self,
        name: str,
        address: Callable[[str], int],
        kernel: Kernel | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.kernel = kernel or Kernel()
        self._functions: dict[str, Any] = {}

    def call(self, name: str, *values: Any) -> Any:
        """Make a hypercall as C does; C's errno is kept."""
        function = self._functions.get(name)
        if function is None:
            record = lookup(name)
            kinds = [argument.type.ctype for argument in record.arguments]
            prototype = ctypes.CFUNCTYPE(record.result.ctype, *kinds, use_errno=True)
            function = self._functions[name] = prototype(self.address(record.name))
        return function(*values)

    def boot(self) -> None:
        """Make the first hypercall, as rump_init does."""
        assert self.call("init", 17, byref(self.kernel.table)) == 0

    def made(self, name: str, *values: Any) -> int:
        """A handle from an init function."""
        handle = c_void_p()
        self.call(name, byref(handle), *values)
        assert handle.value
        return handle.value

    def __repr__(self) -> str:
        return self.name


def addresses(library: ctypes.CDLL) -> Callable[[str], int]:
    """Where a library has a function."""
    return lambda name: ctypes.cast(getattr(library, name), c_void_p).value or 0


class Second:
    """A thread with an lwp of its own that waits for a lock of the first."""

    def __init__(self, side: Side, *steps: Callable[[], object]) -> None:
        self.results: list[object] = []

        def run() -> None:
            side.call("curlwpop", 2, 0x2000)
            for step in steps:
                self.results.append(step())
            side.call("curlwpop", 3, 0x2000)

        self._events = side.kernel.events
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def until_away(self, count: int = 1) -> None:
        """Wait until it has given up the virtual CPU, and a moment more."""
        deadline = time.monotonic() + 20
        while sum(name.endswith("unschedule") for name, *_ in self._events) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.01)

    def join(self) -> list[object]:
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.results


def both(sides: tuple[Side, Side], function: Callable[[Side], Any]) -> Any:
    """Do the same on both sides; outcomes and upcalls must be equal. Returns one."""
    outcomes = []
    for side in sides:
        side.kernel.events.clear()
        outcome = function(side)
        upcalls = [(name, values[:1]) for name, _, values in side.kernel.events]
        outcomes.append((outcome, upcalls))
    assert outcomes[0] == outcomes[1]
    return outcomes[0][0]


def differ(
    sides: tuple[Side, Side], stated: str, function: Callable[[Side], Any]
) -> tuple[Any, Any]:
    """Do what the page says the two do differently; returns stock's and ours."""
    assert stated in differences()
    stock, ours = (function(side) for side in sides)
    assert stock != ours, f"no difference any more: {stated}"
    return stock, ours


def differences() -> dict[str, tuple[str, str]]:
    """The page's table: what it is about, the stock library's way, and ours."""
    rows = {}
    text = PAGE.read_text()
    text = text[text.index("| hypercall | stock | here |") :]
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            break
        about, stock, here = re.split(r" *\| *", line.strip("| "))
        rows[about.replace("`", "")] = stock, here
    return rows


PROGRAM = """
import ctypes, os, sys, threading, time
from ctypes import byref, c_int, c_long, c_size_t, c_void_p
from tests.hypercalls.stock.sides import alone
side = alone({side!r}, {boot})
call = side.call
{work}
"""


def alone(name: str, boot: bool) -> Side:
    """One side in a process of its own, with a kernel that has called init."""
    if name == PYTHON:
        hypervisor = Hypervisor(python_families()).start()
        side = Side(PYTHON, hypervisor.symbol)
    else:
        path = Libraries().rumpuser
        assert path is not None
        side = Side(STOCK, addresses(ctypes.CDLL(path)))
    if boot:
        side.boot()
    return side


def run_side(
    side: str, work: str, boot: bool = True, preload: str = ""
) -> subprocess.CompletedProcess[str]:
    """Let one side do ``work``, Python source, in a process of its own.

    ``preload`` is a library that comes before all others (LD_PRELOAD).
    """
    program = PROGRAM.format(side=side, boot=boot, work=work)
    return run_python(program, LD_PRELOAD=preload)


def run_both(work: str, preload: str = "") -> tuple[Any, Any]:
    """Status and output of the same work on both sides, stock first."""
    done = [run_side(side, work, preload=preload) for side in (STOCK, PYTHON)]
    stock, ours = ((one.returncode, one.stdout, one.stderr) for one in done)
    return stock, ours


def differ_alone(stated: str, work: str, preload: str = "") -> tuple[Any, Any]:
    """`differ` for what a side may not survive: both in processes of their own."""
    assert stated in differences()
    stock, ours = run_both(work, preload)
    assert stock != ours, f"no difference any more: {stated}"
    return stock, ours
