"""Calls that C answers, for the tests of traces: libc's functions, and a loop."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from ctypes import c_size_t, c_void_p

from rumphyper.host.libc import libc
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.trace import Record
from tests.hypercalls.support import Setup

ERRTRANS = "rumpuser_component_errtrans"


def c_function(name: str) -> int:
    """The address of a function of libc."""
    return ctypes.cast(getattr(libc(), name), c_void_p).value or 0


def bind(hypervisor: Hypervisor) -> None:
    """Let C answer some calls: by abs, and by usleep."""
    hypervisor.bind("component_errtrans", c_function("abs"))
    hypervisor.bind("clock_sleep", c_function("usleep"))
    hypervisor.bind("syncfd", c_function("abs"))


def many(setup: Setup, count: int) -> None:
    """Make a call ``count`` times from C: four times a microsecond."""
    call = libc().lfind
    call.restype = c_void_p
    room, left = ctypes.create_string_buffer(8), c_size_t(count)
    address = c_void_p(setup.hv.symbol("component_errtrans"))
    call(room, room, ctypes.byref(left), c_size_t(0), address)


class Collected:
    """A sink; one that is ``blocked`` takes nothing until it is let go."""

    def __init__(self, blocked: bool = False) -> None:
        self.go = threading.Event()
        if not blocked:
            self.go.set()
        self.records: list[Record] = []
        self.lost = 0

    def write(self, records: Sequence[Record]) -> None:
        self.records += records
        assert self.go.wait(30)

    def lose(self, count: int) -> None:
        self.lost += count
