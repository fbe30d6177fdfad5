"""What the tests of the mini kernel boot it on: hypercalls that keep accounts."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import pytest

from rumphyper.host.thunks import supported
from rumphyper.hypercalls.families.memory import Memory
from rumphyper.hypercalls.family import Family, Target
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.mini import MiniKernel
from rumphyper.kernel.mini.abi import DELIVER
from rumphyper.kernel.mini.gate import gate
from tests.kernel.wire import End, wire

ADDRESSES = ("10.0.0.2/24", "2001:db8::2/64")

needs_thunks = pytest.mark.skipif(
    not supported(), reason="no thunks here: no symbols, and calls cannot be re-aimed"
)

Override = Mapping[str, Family | Target]


class CountedMemory(Memory):
    """The memory family with a list of what has not been given back."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, int] = {}

    def malloc(self, howmuch: int, alignment: int, memp: Any) -> int:
        errno = super().malloc(howmuch, alignment, memp)
        if not errno:
            self.held[memp[0]] = howmuch
        return errno

    def free(self, mem: int, length: int) -> None:
        assert self.held.pop(mem) == length
        super().free(mem, length)

    def anonmmap(
        self, prefaddr: int, size: int, alignbit: int, exec_: int, memp: Any
    ) -> int:
        errno = super().anonmmap(prefaddr, size, alignbit, exec_, memp)
        if not errno:
            self.held[memp[0]] = size
        return errno

    def unmap(self, addr: int, length: int) -> None:
        assert self.held.pop(addr) == length
        super().unmap(addr, length)


@attrs.define
class Machine:
    """A hypervisor with one wire; ``near`` is the test's end of it."""

    hypervisor: Hypervisor
    memory: CountedMemory
    trace: Trace
    near: End
    printed: list[str]

    @property
    def problems(self) -> list[str]:
        """What the hypercalls have to complain about, in the kernel or us."""
        return list(self.hypervisor.reporter.problems)

    def calls(self, name: str) -> list[tuple[str, ...]]:
        """The arguments of each call of ``name``."""
        return [r.arguments for r in self.trace.records if r.name == name]


@contextmanager
def machine(override: Override | None = None) -> Iterator[Machine]:
    """A hypervisor in Python that runs, with the link ``wire``."""
    far, near = wire()
    printed: list[str] = []
    memory, trace = CountedMemory(), Trace()
    families = python_families(
        links={"wire": far},
        library=None if supported() else gate().deliver,
        write=printed.append,
        debug=printed.append,
    )
    hypervisor = Hypervisor([*families, memory], override=override, trace=trace)
    hypervisor.reporter.write = lambda text: None
    with near, far, hypervisor:
        yield Machine(hypervisor, memory, trace, near, printed)


@contextmanager
def booted(
    override: Override | None = None,
) -> Iterator[tuple[MiniKernel, Machine]]:
    """A mini kernel with virt0 up; nothing may be wrong at the end."""
    with machine(override) as host:
        with MiniKernel(host.hypervisor) as kernel:
            kernel.create_interface("virt0", "wire", ADDRESSES)
            yield kernel, host
        assert host.memory.held == {}
        assert host.problems == []


class Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


def deliver(softc: int, *pieces: bytes | None) -> None:
    """Deliver a frame in ``pieces`` by the exported symbol, as a host does."""
    array = (Piece * len(pieces))(
        *(Piece(p, 6 if p is None else len(p)) for p in pieces)
    )
    prototype = ctypes.CFUNCTYPE(
        None, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t
    )
    library = gate().library
    where = (DELIVER, library) if library is not None else gate().deliver
    prototype(where)(softc, ctypes.byref(array), len(pieces))


def resources() -> tuple[set[str], set[str]]:
    """The open descriptors and the threads of this process."""
    descriptors = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            descriptors.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return descriptors, set(os.listdir("/proc/self/task"))


def new_resources(before: tuple[set[str], set[str]]) -> set[str]:
    """What the process has that it did not have ``before``, and goes not soon.

    A thread that was joined may be in its last instructions yet, then and now.
    """
    end = time.monotonic() + 2
    while True:
        descriptors, threads = resources()
        new = (descriptors - before[0]) | (threads - before[1])
        if not new or time.monotonic() > end:
            return new
        time.sleep(0.005)


def finish(
    function: Callable[[], object], seconds: float = 10.0
) -> BaseException | None:
    """Run ``function`` on a thread; what it raised. It must end in time."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"still at work after {seconds} s"
    return raised[0] if raised else None
