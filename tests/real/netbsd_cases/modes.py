"""Who answers a kernel: modes, overrides of all kinds, and what is refused."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.families.clock import Clock
from rumphyper.hypercalls.families.component import Component
from rumphyper.hypercalls.families.locks import Locks
from rumphyper.hypercalls.families.lwp import Lwp
from rumphyper.hypercalls.families.random import Random
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.kernel.netbsd import Kernel
from tests.real.netbsd_cases.faults import REALTIME, echo, looped, now
from tests.real.netbsd_cases.kit import failure
from tests.real.rump import boot

HOUR = 3600


class Ahead(Clock):
    """A wall clock that is an hour ahead."""

    def clock_gettime(self, clock: int, sec: Any, nsec: Any) -> int:
        error = super().clock_gettime(clock, sec, nsec)
        if clock == REALTIME:
            sec[0] += HOUR
        return error


def hurried(kernel: Kernel) -> int:
    """Hours that the kernel is ahead of the host's wall clock."""
    return round((now(kernel, REALTIME) - time.time()) / HOUR)


def named(kernel: Kernel) -> str:
    """The kernel's name of its host."""
    name = ctypes.create_string_buffer(64)
    size = ctypes.c_size_t(64)
    numbers = (ctypes.c_int * 2)(1, 10)  # CTL_KERN, KERN_HOSTNAME
    kernel.syscall("__sysctl", numbers, 2, name, ctypes.byref(size), None, 0)
    return name.value.decode()


def provided(kernel: Kernel, *names: str) -> list[str]:
    return [kernel.hypervisor.bindings[f"rumpuser_{name}"].provider for name in names]


def by_class() -> dict[str, Any]:
    """A Family class in place of whoever answers the clock."""
    with looped(override={"clock": Ahead}, ncpu=1) as kernel:
        return {
            "hours": hurried(kernel),
            "works": echo(kernel),
            "by": provided(kernel, "clock_gettime", "clock_sleep"),
        }


def by_instance() -> dict[str, Any]:
    """Families made by the user: one that only computes, one that also sleeps.

    With one CPU a clock that sleeps must have given it up: the kernel's upcalls
    have to reach it.
    """
    given: list[int] = []

    def source(count: int, flags: int) -> bytes:
        given.append(count)
        return bytes(range(256))[:count]

    clock = Ahead(Upcalls())
    override = {"random": Random(source), "clock": clock}
    with looped(override=override, ncpu=1) as kernel:
        return {
            "hours": hurried(kernel),
            "works": echo(kernel),
            "asked": bool(given),
            "loaded": clock.upcalls.loaded,
        }


def by_function() -> dict[str, Any]:
    """Functions for single hypercalls, with the name's prefix and without."""
    said: list[str] = []
    names: list[bytes] = []

    def kill(pid: int, signal: int) -> int:
        return 0

    def putchar(character: int) -> None:
        said.append(chr(character))

    def getparam(answer: Callable[..., int], name: bytes, buf: int, length: int) -> int:
        names.append(name)
        if name == b"_RUMPUSER_HOSTNAME":
            text = b"elsewhere\0"
            ctypes.memmove(buf, text, len(text))
            return 0
        return answer(name, buf, length)

    override = {
        "rumpuser_putchar": putchar,
        "kill": kill,
        "getparam": Around(getparam),
    }
    with looped(override=override, verbose=True) as kernel:
        return {
            "host": named(kernel),
            "asked": b"_RUMPUSER_NCPU" in names,
            "said": "The NetBSD Foundation" in "".join(said),
            "works": echo(kernel),
            "by": provided(kernel, "putchar", "kill"),
        }


def by_address() -> dict[str, Any]:
    """libc's putchar has the arguments of rumpuser_putchar."""
    address = ctypes.cast(libc().putchar, ctypes.c_void_p).value
    with looped(override={"putchar": address}, verbose=True) as kernel:
        found = {"works": echo(kernel), "by": provided(kernel, "putchar")}
    libc().fflush(None)
    return found


def refused(mode: str) -> dict[str, Any]:
    """What cannot be, by its name; and the kernel that boots after all of it."""

    def nothing(*values: Any) -> int:
        return 0

    wanted: Mapping[str, dict[str, Any]] = {
        "family": {"nosuch": Clock},
        "hypercall": {"nosuch": nothing},
        "another family": {"clock": Random},
        "arguments": {"clock_gettime": lambda: 0},
        "no answer": {"clock_gettime": 1.5},
        "one of the locks": {"mutex_enter": lambda mutex: None},
        "a family by a function": {"clock": nothing},
        "around the end": {"exit": Around(nothing)},
        "around text": {"dprintf": Around(nothing)},
        "frames": {"virtif": type("Mine", (Clock,), {"family": "virtif"})},
    }
    alone = {"python": (), "libc": (Lwp,)}.get(mode, (Locks, Lwp, Component))
    wanted = {**wanted, **{f"{one.family} alone": {one.family: one} for one in alone}}
    found: dict[str, Any] = {
        name: failure(lambda override=override: boot(override=override))  # type: ignore[misc]
        for name, override in wanted.items()
    }
    found["mode"] = failure(lambda: boot(hypercalls="psychic"))
    with looped(override={"virtif": Virtif}) as kernel:
        found["works"] = echo(kernel)
    return found


def without_stock(folder: str) -> dict[str, Any]:
    """Every mode where no librumpuser is; the second kind of mode boots at last."""
    found: dict[str, Any] = {
        mode: failure(lambda mode=mode: boot(hypercalls=mode))  # type: ignore[misc]
        for mode in ("native", "hybrid")
    }
    with looped() as kernel:
        found["works"] = echo(kernel)
        found["mode"] = kernel.provided.mode
        found["mapped"] = mapped()
        bus = kernel.create_interface("shmif0", f"shmif:{folder}/bus")
        bus.destroy()
    return found


def mapped() -> list[str]:
    """Files of a librumpuser that are mapped, without the symbols of our own."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {Path(line.split(maxsplit=5)[-1]) for line in lines if "/" in line}
    return sorted(
        file.name
        for file in files
        if file.name.startswith("librumpuser") and "memfd:" not in str(file)
    )


def maps() -> dict[str, Any]:
    with looped() as kernel:
        return {"mapped": mapped(), "works": echo(kernel)}


def a_library_that_does_not_load() -> dict[str, Any]:
    """Boots that fail while they load; then one without the guilty component."""
    errors = [failure(lambda: boot(["netinet", "broken"])) for _ in range(2)]
    with looped(components=["netinet"]) as kernel:
        return {"errors": errors, "works": echo(kernel)}
