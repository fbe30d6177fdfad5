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
import os
from collections.abc import Callable
from typing import Any

import attrs

from rumphyper.errors import LibraryError, UnsupportedError
from rumphyper.host.libc import libc
from rumphyper.host.thunks import supported
from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.hypercalls.families.console import Console
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.family import Family
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.record import RUMPUSER_VERSION
from rumphyper.hypercalls.trace import Trace
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.kernel.busdriver import WAIT, BusDriver
from rumphyper.kernel.libraries import Libraries

PROVIDERS = ("native",)
"""Who can answer the hypercalls outside of the interfaces."""

EINVAL = 22


@attrs.define(eq=False)
class Provided:
    """Everything below one kernel."""

    hypervisor: Hypervisor
    virtif: Virtif
    buses: BusDriver
    upcalls: Upcalls
    version: int = 0
    """RUMPUSER_VERSION as the kernel said it; 0 before its rumpuser_init."""

    interposed: bool = True
    """False where there are no thunks: the stock library answers by itself."""

    def attach(self, library: ctypes.CDLL, driver: str | None = None) -> None:
        """Tell the families where the kernel's own symbols are.

        ``driver`` is the path of the shmif component, which holds C code for
        its hypercalls. Waiting for the bus is left to that: a callback would
        add some microseconds to each packet.
        """
        self.virtif.library = library
        if driver is not None and self.interposed:
            address = function_address(WAIT, ctypes.CDLL(driver))
            self.hypervisor.bind(WAIT, address, "stock")

    def check_version(self, librump: str) -> None:
        """Raise LibraryError when the kernel speaks another version."""
        if self.version not in (0, RUMPUSER_VERSION):
            raise LibraryError(
                librump,
                f"its RUMPUSER_VERSION is {self.version}, librumpuser and this "
                f"hypervisor speak {RUMPUSER_VERSION}",
                "use a librump of NetBSD 7 to 10",
            )

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
        pause = function_address("pause")
        for name, binding in self.hypervisor.bindings.items():
            if callable(binding.target):
                self.hypervisor.bind(name, pause)


def function_address(name: str, library: ctypes.CDLL | None = None) -> int:
    """The address of a function of ``library`` (default: libc)."""
    function = getattr(library or libc(), name)
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def provide(
    mode: str,
    libraries: Libraries,
    trace: Trace | None = None,
    console: Callable[[str], object] | None = None,
) -> Provided:
    """Load what answers the hypercalls in ``mode``; see `boot` for the others.

    Raises UnsupportedError for an unknown mode, LibraryError when the stock
    library is needed and is not there.
    """
    if mode not in PROVIDERS:
        raise UnsupportedError(
            f"hypercalls={mode!r}", "no such provider", f"known: {', '.join(PROVIDERS)}"
        )
    path = libraries.rumpuser
    if path is None:
        raise LibraryError(
            "librumpuser.so",
            f"no such file in {', '.join(libraries.folders)}",
            "install it: hypercalls='native' are the stock library's",
        )
    upcalls = Upcalls()
    virtif, buses = Virtif(), BusDriver(upcalls)
    families: list[Family] = [virtif, buses]
    if console is not None:
        families.append(Console(write=console, debug=console))
    hypervisor = Hypervisor(families, trace=trace)
    provided = Provided(hypervisor, virtif, buses, upcalls, interposed=supported())
    hypervisor.start()
    stock = open_stock(path, ctypes.RTLD_LOCAL if supported() else ctypes.RTLD_GLOBAL)
    for name in CATALOGUE:
        answered = hypervisor.bindings[name].target is not None
        if name.startswith("rumpuser_") and hasattr(stock, name) and not answered:
            hypervisor.bind(name, function_address(name, stock), "stock")
    hypervisor.bind("rumpuser_init", init_with(provided, stock), "stock")
    if supported():
        keep_buses(hypervisor, buses)
    return provided


def keep_buses(hypervisor: Hypervisor, buses: BusDriver) -> None:
    """Let ``buses`` see what the driver unmaps and closes; see busdriver.py."""
    types: dict[str, Any] = {
        "rumpuser_unmap": ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t),
        "rumpuser_close": ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int),
    }
    keepers: dict[str, Any] = {
        "rumpuser_unmap": buses.unmap_with,
        "rumpuser_close": buses.close_with,
    }
    for name, keeper in keepers.items():
        stock = hypervisor.bindings[name].target
        if isinstance(stock, int):
            hypervisor.bind(name, keeper(types[name](stock)), "stock")


def open_stock(path: str, mode: int) -> ctypes.CDLL:
    """The stock librumpuser; RTLD_LOCAL keeps its symbols to itself."""
    try:
        return ctypes.CDLL(path, mode)
    except OSError as error:
        raise LibraryError(
            path, str(error), f"install {os.path.basename(path)} again"
        ) from None


def init_with(provided: Provided, stock: ctypes.CDLL) -> Callable[[int, int], int]:
    """rumpuser_init that looks at the version before the stock one does.

    The stock one ends the process on another version; here rump_init fails.
    """
    stock_init = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(
        ("rumpuser_init", stock)
    )

    def init(version: int, hyp: int) -> int:
        provided.version = version
        if version != RUMPUSER_VERSION:
            return EINVAL
        provided.upcalls.load(hyp)
        return int(stock_init(version, hyp))

    return init
