"""Who answers the kernel's hypercalls: assembled before it is loaded.

The hypervisor's thunk library has the soname librumpuser.so.0 and is loaded
first, with global symbols: librump's DT_NEEDED finds it by that name, and every
hypercall goes through its slots. The stock library is then opened by its path,
with local symbols, and lends its functions' addresses to the slots. (Opened
first it would satisfy DT_NEEDED itself, and its symbols would become global
with librump's.) Where there are no thunks the stock library answers everything,
its interfaces too: virtN is then its own tunN, not a link of this package.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import attrs

from rumphyper.errors import LibraryError, UnsupportedError
from rumphyper.host.thunks import check_supported, supported
from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.families.init import Init
from rumphyper.hypercalls.families.libc_locks import LibcLocks, LibcLwp
from rumphyper.hypercalls.families.lwp import Lwp
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.faults import Attachment
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.modes import (
    PYTHON,
    STOCK,
    check_mode,
    check_together,
    needs_stock,
    provider,
)
from rumphyper.hypercalls.override import Override, Overrides
from rumphyper.hypercalls.python import python_families
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.hypercalls.shortcut import shorten
from rumphyper.hypercalls.slots import Slots
from rumphyper.hypercalls.trace import Trace
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.kernel.busdriver import WAIT, BusDriver
from rumphyper.kernel.joins import Joins
from rumphyper.kernel.libraries import Libraries
from rumphyper.kernel.pcidevices import PciDevices
from rumphyper.kernel.stock import function_address, initializer, open_stock

LIBC: dict[str, type[Family]] = {"locks": LibcLocks, "lwp": LibcLwp}
"""What answers in place of Python's own in the mode libc."""
MUST_BE = {"init": Init, "virtif": Virtif, "shmif": BusDriver}
"""Families that this room works with: an override has to be a subclass."""

_spare: list[Slots] = []
"""The symbols of a boot that has failed before the kernel was loaded."""


@attrs.define(eq=False)
class Provided:
    """Everything below one kernel."""

    mode: str
    hypervisor: Hypervisor
    virtif: Virtif
    buses: BusDriver
    init: Init
    joins: Joins = attrs.field(factory=Joins)
    interposed: bool = True
    """False where there are no thunks: the stock library answers by itself."""

    devices: PciDevices | None = None
    attachments: list[Attachment] = attrs.field(factory=list)
    """What stands before the answers: faults, recorders."""

    def put_before(self, attachments: Iterable[Attachment]) -> None:
        """Let ``attachments`` stand before the answers, the last one in front."""
        for one in attachments:
            one.attach(self.hypervisor)
            self.attachments.append(one)

    def end_attachments(self) -> None:
        """The kernel is about to end: take away what would disturb that."""
        for one in reversed(self.attachments):
            one.end()

    def attach(self, library: ctypes.CDLL, driver: str | None = None) -> None:
        """Tell the families where the kernel's own symbols are.

        ``driver`` is the path of the shmif component, which holds C code for
        its hypercalls. Waiting for the bus is left to that unless everything
        is to be Python's: a callback adds some microseconds to each packet.
        """
        self.virtif.library = library
        if driver is not None and self.interposed and self.mode != "python":
            address = function_address(WAIT, ctypes.CDLL(driver))
            self.hypervisor.bind(WAIT, address, STOCK)

    def protect_joins(self) -> None:
        """Before an interface is made whose end joins a thread: see joins.py."""
        if self.interposed:
            self.joins.install(self.hypervisor)

    def forget_lwp(self) -> None:
        """The calling thread ends, with an lwp of a kernel that is closed."""
        lwp = self.hypervisor.families.get("lwp")
        if isinstance(lwp, Lwp):  # the stock library keeps it thread-local
            lwp.forget()

    def check_version(self, librump: str) -> None:
        """Raise LibraryError when the kernel speaks another version."""
        version = self.init.version
        if version not in (0, RUMPUSER_VERSION):
            raise LibraryError(
                librump,
                f"its RUMPUSER_VERSION is {version}, librumpuser and this "
                f"hypervisor speak {RUMPUSER_VERSION}",
                "use a librump of NetBSD 7 to 10",
            )

    def abandon(self) -> None:
        """Nothing has been loaded over this: the next boot takes the symbols."""
        slots = self.hypervisor.abandon()
        if slots is not None:
            _spare.append(slots)

    def prepare_end(self, quiet: bool) -> None:
        """For the kernel's reboot: rumpuser_exit ends the thread that calls it."""
        bind = self.hypervisor.bind
        bind("rumpuser_exit", function_address("pthread_exit"))
        if quiet:  # "rump kernel halting...": abs() takes an int and prints nothing
            bind("rumpuser_putchar", function_address("abs"))

    def park(self) -> None:
        """Answer nothing in Python any more: who calls sleeps for good.

        Threads of the kernel take no signals, so pause(2) does not return.
        """
        self.hypervisor.trace = None  # its records are made in Python
        self.hypervisor.park()


def default_mode(libraries: Libraries) -> str:
    """The mode of a kernel that nobody chose one for."""
    if not supported():
        return "native"
    return "hybrid" if libraries.rumpuser is not None else "libc"


def provide(
    mode: str,
    libraries: Libraries,
    override: Mapping[str, Override] | None = None,
    trace: Trace | None = None,
    console: Callable[[str], object] | None = None,
    devices: PciDevices | None = None,
) -> Provided:
    """Load what answers the hypercalls in ``mode``; see `boot` for the others.

    With ``devices`` their families answer in every mode. Raises UnsupportedError
    for an unknown mode and for answers that do not fit together, LibraryError
    when the stock library is needed and is not there.
    """
    check_mode(mode)
    path = _stock_path(mode, libraries)
    wanted = Overrides(override or {}, MUST_BE)
    if not supported() and (mode != "native" or wanted or devices):
        check_supported()  # raises, with the reason
    replace: dict[str, type[Family]] = {"shmif": BusDriver}
    if mode == "libc":
        replace |= LIBC
    debug = console if devices is None else devices.listener(console)
    families = python_families(
        replace=replace | wanted.classes, write=console, debug=debug
    )
    own = set(wanted.families) | ({"console"} if debug is not None else set())
    if devices is not None:
        families += _families(devices, wanted)
        own |= {"memory", "pci"}
    answered = {
        name: PYTHON if call.family in own else provider(mode, call)
        for name, call in CATALOGUE.items()
    }
    used = {call.family for call in CATALOGUE.values() if answered[call.name] != STOCK}
    hypervisor = Hypervisor(
        [family for family in families if family.family in used],
        override=wanted.instances,
        trace=trace,
    )
    every = (*wanted.instances.values(), *families)
    init, buses = only(every, Init), only(every, BusDriver)
    provided = Provided(mode, hypervisor, only(every, Virtif), buses, init)
    provided.interposed = supported()
    provided.devices = devices
    elsewhere = (getattr(one, "upcalls", None) for one in wanted.instances.values())
    init.others = [upcalls for upcalls in elsewhere if isinstance(upcalls, Upcalls)]
    hypervisor.start(_spare.pop() if _spare else None)
    try:
        hypervisor.bind("rumpuser_init", init.init, PYTHON)
        if path is not None and needs_stock(mode):
            _lend(path, [n for n, who in answered.items() if who == STOCK], provided)
        if mode == "python" and "locks" not in wanted.families:
            shorten(hypervisor)
        if supported():
            hypervisor.add_around("rumpuser_unmap", Around(buses.unmap_or_keep))
            hypervisor.add_around("rumpuser_close", Around(buses.close_or_keep))
        wanted.apply(hypervisor)
        check_together(mode, hypervisor.bindings.values())
    except BaseException:
        provided.abandon()
        raise
    return provided


def _lend(path: str, names: Iterable[str], provided: Provided) -> None:
    """Let the stock library at ``path`` answer ``names``."""
    stock = open_stock(path) if supported() else open_stock(path, ctypes.RTLD_GLOBAL)
    provided.init.then = initializer(stock)
    for name in names:
        if name != "rumpuser_init" and hasattr(stock, name):
            provided.hypervisor.bind(name, function_address(name, stock), STOCK)


def _stock_path(mode: str, libraries: Libraries) -> str | None:
    path = libraries.rumpuser
    if path is None and needs_stock(mode):
        raise LibraryError(
            "librumpuser.so",
            f"no such file in {', '.join(libraries.folders)}",
            f"install it, or choose 'libc' or 'python': hypercalls={mode!r} are the "
            "stock library's",
        )
    return path


def _families(devices: PciDevices, wanted: Overrides) -> list[Family]:
    """What answers for PCI devices, which nothing else can."""
    found = [devices.memory, devices.pci]
    for family in found:
        if family.family in wanted.families:
            raise UnsupportedError(
                f"override of {family.family!r} with PCI devices",
                "their DMA needs the family that goes with them",
                "override single hypercalls, by an Around",
            )
    return found


F = TypeVar("F", bound=Family)


def only(families: Iterable[Family], kind: type[F]) -> F:
    """The first family of that class."""
    return next(family for family in families if isinstance(family, kind))
