"""What the tests of the hypercalls share: a kernel's side, made of ctypes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.faults import Fault, parse_fault
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.upcalls import UPCALLS, Hyperup, upcall_type
from tests.judges import tool


def _nothing(*values: Any) -> int:
    return 0


class Kernel:
    """The kernel's side of the contract: upcalls that note what they are told.

    ``events`` has (name, thread, arguments). ``on`` maps an upcall's name to a
    function that is called inside it.
    """

    locks = 3
    """Kernel locks that the calling thread is said to hold."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, tuple[Any, ...]]] = []
        self.on: dict[str, Callable[..., Any]] = {}
        self.table = Hyperup()
        self._kept: list[Any] = []
        for name, result, _ in UPCALLS:
            prototype: Any = upcall_type(name)
            callback = prototype(self._upcall(name, result))
            self._kept.append(callback)
            setattr(self.table, name, ctypes.cast(callback, ctypes.c_void_p).value)

    def _upcall(self, name: str, result: Any) -> Callable[..., Any]:
        def called(*values: Any) -> Any:
            if name == "hyp_backend_unschedule":
                values[1][0] = self.locks
                values = (values[0], values[2])
            self.events.append((name, threading.get_ident(), values))
            function: Callable[..., Any] = self.on.get(name, _nothing)
            answer = function(*values)
            return answer if result is not None else None

        return called

    def boot(self, hypervisor: Hypervisor) -> None:
        """Make the first hypercall, as rump_init does."""
        assert hypervisor.function("init")(17, ctypes.byref(self.table)) == 0

    def names(self) -> list[str]:
        """The upcalls made so far, by name."""
        return [name for name, _, _ in self.events]


class Setup:
    """A started hypervisor with Python's families, and a kernel for it."""

    def __init__(self, **options: Any) -> None:
        self.reports: list[str] = []
        self.console: list[str] = []
        self.debug: list[str] = []
        families = options.pop("families", None)
        given = options.pop("python", {})
        if families is None:
            families = python_families(
                write=self.console.append, debug=self.debug.append, **given
            )
        self.hv = Hypervisor(
            families, reporter=Reporter(self.reports.append), **options
        )
        self.hv.start()
        self.kernel = Kernel()
        if "init" in self.hv.families:
            self.kernel.boot(self.hv)

    def call(self, name: str, *values: Any) -> Any:
        """Make a hypercall as C does."""
        return self.hv.function(name)(*values)

    def family(self, name: str) -> Family:
        """One of the families."""
        return self.hv.families[name]

    def made(self, name: str, *values: Any) -> int:
        """A hypercall whose first parameter gets a handle: returns it."""
        handle = ctypes.c_void_p()
        self.call(name, ctypes.byref(handle), *values)
        assert handle.value
        return handle.value


def put(setup: Setup, text: str) -> Fault:
    """Attach the fault that ``text`` describes."""
    fault = parse_fault(text)
    fault.attach(setup.hv)
    return fault


def shared_object(folder: Path, source: str) -> ctypes.CDLL:
    """Compile C into a library and open it; skips the test without a compiler."""
    compiler = tool("gcc")
    path = folder / "judge.c"
    path.write_text(source)
    library = folder / "judge.so"
    run = subprocess.run(
        [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread",
         "-o", library, path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return ctypes.CDLL(str(library), use_errno=True)


def run_python(source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python source in a process of its own, with this one's import path."""
    path = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", source],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip
