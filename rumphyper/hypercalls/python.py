"""All of Python's families, wired to each other: one call makes the set."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from rumphyper.hypercalls.families.clock import Clock
from rumphyper.hypercalls.families.component import Component
from rumphyper.hypercalls.families.console import Console
from rumphyper.hypercalls.families.daemonize import Daemonize
from rumphyper.hypercalls.families.dl import Dl
from rumphyper.hypercalls.families.errno import SetErrno
from rumphyper.hypercalls.families.files import Files
from rumphyper.hypercalls.families.init import Init
from rumphyper.hypercalls.families.locks import Locks
from rumphyper.hypercalls.families.lwp import Lwp
from rumphyper.hypercalls.families.memory import Memory
from rumphyper.hypercalls.families.param import Param
from rumphyper.hypercalls.families.pci import Pci
from rumphyper.hypercalls.families.random import Random
from rumphyper.hypercalls.families.shmif import Shmif
from rumphyper.hypercalls.families.sysproxy import SysProxy
from rumphyper.hypercalls.families.termination import Termination
from rumphyper.hypercalls.families.threads import Threads
from rumphyper.hypercalls.families.virtif import Source, Virtif
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.upcalls import Upcalls

Kind = TypeVar("Kind", bound=type[Family])


def python_families(
    *,
    settings: Mapping[str, str | None] | None = None,
    links: Mapping[str, Source] | None = None,
    library: ctypes.CDLL | int | None = None,
    write: Callable[[str], object] | None = None,
    debug: Callable[[str], object] | None = None,
    on_exit: Callable[[int], object] | None = None,
    replace: Mapping[str, type[Family]] | None = None,
    symbols: bool = True,
) -> list[Family]:
    """The families that answer in Python, for one kernel.

    ``settings`` go before the environment (`Param`), ``links`` and ``library``
    to `Virtif`, ``write`` and ``debug`` to `Console`, ``on_exit`` to
    `Termination`, ``symbols`` to `Dl`. ``replace`` maps a family's name to the
    class that answers in place of the one here; it is called with the same
    arguments. Families that share state (upcalls, lwps) share it here; take them
    from one call only.
    """
    chosen = replace or {}

    def use(default: Kind) -> Kind:
        return cast(Kind, chosen.get(default.family, default))

    upcalls = Upcalls()
    lwp = use(Lwp)()
    console = use(Console)()
    if write is not None:
        console.write = write
    if debug is not None:
        console.debug = debug
    return [
        use(Init)(upcalls),
        use(Memory)(),
        use(Files)(upcalls, settings=settings),
        use(Clock)(upcalls),
        use(Param)(settings),
        use(SetErrno)(),
        use(Termination)(console, on_exit),
        console,
        use(Random)(),
        use(Threads)(upcalls),
        use(Dl)(symbols),
        use(Daemonize)(upcalls),
        lwp,
        use(Locks)(upcalls, lwp),
        use(Component)(upcalls),
        use(Virtif)(links, library),
        use(Shmif)(upcalls),
        use(SysProxy)(upcalls),
        use(Pci)(),
    ]
