"""All hypercalls of RUMPUSER_VERSION 17 and of the network and PCI components.

The catalogue is the one place that knows names and types. The ctypes
prototypes, the thunk table, `rumphyper hypercalls`, the trace and the test of
the stubs all come from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.record import (
    RUMPUSER_VERSION,
    Argument,
    Failure,
    Hypercall,
)
from rumphyper.hypercalls.tables import (
    component,
    files,
    locks,
    memory,
    pci,
    shmif,
    sysproxy,
    system,
    threads,
    virtif,
)

__all__ = [
    "CATALOGUE",
    "FAMILIES",
    "RUMPUSER_VERSION",
    "Argument",
    "Failure",
    "Hypercall",
    "lookup",
    "members",
]

_TABLES = (
    memory,
    files,
    system,
    threads,
    locks,
    sysproxy,
    component,
    virtif,
    shmif,
    pci,
)

CATALOGUE: Mapping[str, Hypercall] = MappingProxyType(
    {call.name: call for table in _TABLES for call in table.CALLS}
)
"""Every hypercall by its C name, in the order of NetBSD's headers."""

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "init": "the first call, with the kernel's upcalls",
        "memory": "allocate and map memory",
        "files": "files and block devices of the host",
        "clock": "read clocks and sleep",
        "param": "settings: number of CPUs, host name, environment",
        "errno": "the errno of system calls",
        "termination": "signals and the end",
        "console": "what the kernel prints",
        "random": "random octets",
        "threads": "start, end and join host threads",
        "lwp": "which lwp a host thread carries",
        "dl": "components and symbols of loaded libraries",
        "daemonize": "become a daemon",
        "locks": "mutexes, reader/writer locks, condition variables",
        "sysproxy": "system calls of other processes",
        "component": "for host-side code of components: enter and leave the kernel",
        "virtif": "the virt(4) interface: frames to and from a link",
        "shmif": "the shmif(4) interface: map and watch the bus file",
        "pci": "PCI devices: registers, interrupts, DMA",
    }
)
"""The families and what each is for."""


def members(family: str) -> tuple[Hypercall, ...]:
    """The hypercalls of a family; UnsupportedError with the known ones if unknown."""
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise UnsupportedError(f"family {family!r}", "unknown", f"known: {known}")
    return tuple(call for call in CATALOGUE.values() if call.family == family)


def lookup(name: str) -> Hypercall:
    """The hypercall of that name, with or without its prefix.

    Raises UnsupportedError, naming the nearest, when there is none, or when
    the short name is that of several.
    """
    for full in (name, f"rumpuser_{name}"):
        if full in CATALOGUE:
            return CATALOGUE[full]
    found = [
        call
        for call in CATALOGUE.values()
        if name in (call.method, call.name.partition("_")[2])
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(call.name for call in found)
        raise UnsupportedError(f"hypercall {name!r}", "several have it", several)
    short = [call.method for call in CATALOGUE.values()]
    raise _unknown(f"hypercall {name!r}", name, [*CATALOGUE, *short])


def _unknown(thing: str, name: str, candidates: list[str]) -> UnsupportedError:
    close = dict.fromkeys(difflib.get_close_matches(name, candidates, n=4, cutoff=0.5))
    hint = "`rumphyper hypercalls` lists them"
    if close:
        hint = f"did you mean {', '.join(close)}?"
    return UnsupportedError(thing, "not in the catalogue", hint)
