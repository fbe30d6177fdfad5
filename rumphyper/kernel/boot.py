"""Booting NetBSD: find, load, start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from rumphyper.errors import LibraryError, RumphyperError, UnsupportedError
from rumphyper.hypercalls.faults import Attachment
from rumphyper.hypercalls.modes import check_mode
from rumphyper.hypercalls.override import Override
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.attachments import patience, read_attachments
from rumphyper.kernel.interrupt import GUARD, Guard, no_signals
from rumphyper.kernel.libraries import Libraries, Plan
from rumphyper.kernel.loader import load
from rumphyper.kernel.netbsd import Kernel
from rumphyper.kernel.pcidevices import MEMORY, PciDevices
from rumphyper.kernel.pcispec import PciSpec
from rumphyper.kernel.providers import Provided, default_mode, provide
from rumphyper.kernel.starting import run_init

NEEDED = ("net", "netinet")
WANTED = (
    *("netinet6", "config", "local", "virtif", "shmif", "bridge"),
    *("vfs", "tmpfs", "dev", "bpf", "sysproxy"),
)
"""The default components: the second part as far as their libraries are there."""

NCPU = 1
"""How many virtual CPUs unless somebody says otherwise: see docs/netbsd.md."""

_lock = threading.Lock()
_kernel: Kernel | None = None
_spoiled = ""
"""Why this process cannot boot any more, once a boot went wrong half-way."""


def current_kernel() -> Kernel:
    """The kernel that this process has booted.

    Raises RumphyperError when there is none.
    """
    if _kernel is None:
        raise RumphyperError(
            "the rump kernel",
            "none has been booted in this process",
            "call rumphyper.boot(), or use `rumphyper run`",
        )
    return _kernel


def default_components(libraries: Libraries) -> tuple[str, ...]:
    """The components that `boot` loads when it is not told."""
    here = (name for name in WANTED if name in libraries.components)
    return *NEEDED, *here


def boot(
    components: Iterable[str] | None = None,
    *,
    hypercalls: str | None = None,
    override: Mapping[str, Override] | None = None,
    ncpu: int | None = None,
    verbose: bool = False,
    trace: Trace | None = None,
    console: Callable[[str], object] | None = None,
    faults: Iterable[str | Attachment] = (),
    pci: Iterable[str] = (),
    pci_memory: int = MEMORY,
) -> Kernel:
    """Boot NetBSD in this process and return the kernel.

    ``components`` are NetBSD's names (``net``, ``tmpfs``); what they need is
    loaded too. By default that is TCP/IP with all interfaces, local sockets
    and tmpfs. ``hypercalls`` says who answers the kernel, see `MODES`; by
    default ``hybrid``, or ``libc`` where there is no stock librumpuser.
    ``override`` answers families or single hypercalls in another way, see
    `rumphyper.hypercalls.override`. ``ncpu`` is the number of virtual CPUs
    (default: RUMP_NCPU in the environment, else `NCPU`); ``verbose`` shows
    NetBSD's boot messages. ``trace`` records hypercalls from the first one on.
    ``console`` gets what the kernel prints, in lines; by default that goes to
    the process's standard output. ``faults`` are what goes wrong on purpose, in
    words or as objects, and recorders and replays: see docs/faults.md.

    ``pci`` names PCI devices for NetBSD's own drivers, as
    ``0000:00:03.0,driver=vfio,restore`` (`pcispec.FORM`): their components are
    loaded too, and the kernel finds the devices in this order. All of the
    kernel's memory is then ``pci_memory`` octets that the devices reach. See
    docs/pci.md.

    Raises LibraryError when libraries are missing or do not fit together,
    UnsupportedError for an unknown mode and for overrides that cannot work (a
    process can boot again after both), the errors of `rumphyper.pci.errors`,
    RumphyperError when the memory is too small, and on a second boot: a process
    can boot once.
    """
    global _kernel
    if hypercalls is not None:
        check_mode(hypercalls)
    if ncpu is not None and not 1 <= ncpu <= 64:
        raise UnsupportedError(f"ncpu={ncpu}", "not between 1 and 64", "omit it")
    with _lock:
        if _kernel is not None or _spoiled:
            raise RumphyperError(
                "the rump kernel",
                _spoiled or "this process has booted one before",
                "one process can boot once: start another process",
            )
        attachments = read_attachments(faults)
        libraries = Libraries()
        specs = [PciSpec.parse(text) for text in pci]
        names = list(
            default_components(libraries) if components is None else components
        )
        if specs:
            names += pci_components(libraries, components is None)
        plan = libraries.plan(names)
        settings = {"RUMP_NCPU": str(ncpu or os.environ.get("RUMP_NCPU", NCPU))}
        if verbose:
            settings["RUMP_VERBOSE"] = "1"
        with GUARD, contextlib.ExitStack() as undo:
            mode = hypercalls or default_mode(libraries)
            devices = None
            if specs:
                devices = PciDevices(specs, pci_memory)
                undo.callback(devices.close)
                settings |= devices.settings
            provided = provide(mode, libraries, override, trace, console, devices)
            provided.hypervisor.interrupted = lambda: GUARD.pending
            undo.callback(_abandon, provided)
            undo.callback(provided.end_attachments)
            provided.put_before(attachments)
            _kernel = _start(plan, GUARD, provided, settings)
            undo.pop_all()
            _kernel.quiet = not verbose and console is None
        return _kernel


def pci_components(libraries: Libraries, drivers: bool) -> list[str]:
    """The PCI bus, and with ``drivers`` all drivers for it that are there.

    Raises LibraryError without them.
    """
    libraries.find("pci")
    if not drivers:
        return ["pci"]
    found = [name for name in libraries.components if name.startswith("pci_")]
    if not found:
        raise LibraryError(
            "librumpdev_pci_*.so",
            f"no driver of PCI devices is in {', '.join(libraries.folders)}",
            "install that of your device, such as librumpdev_pci_if_wm.so",
        )
    return ["pci", *found]


def _abandon(provided: Provided) -> None:
    """Nothing of the kernel has been loaded, or it has and all is spoiled."""
    if not _spoiled:
        provided.abandon()


def _start(
    plan: Plan, guard: Guard, provided: Provided, settings: dict[str, str]
) -> Kernel:
    global _spoiled
    library = load(plan)
    drivers = (part.path for part in plan.order if part.name == "shmif")
    provided.attach(library, next(drivers, None))
    _spoiled = "a boot in this process failed"
    with environment(settings), no_signals():
        start = time.perf_counter()
        error = _init(library, provided)
        elapsed = time.perf_counter() - start
    if error:
        provided.check_version(plan.order[0].path)
        raise RumphyperError("the rump kernel", f"rump_init failed with {error}")
    _spoiled = ""
    kernel = Kernel(library, plan, guard, provided)
    kernel.started_in = elapsed
    return kernel


def _init(library: ctypes.CDLL, provided: Provided) -> int:
    """Run rump_init. Raises RumphyperError when it would wait for ever."""
    global _spoiled
    watches = patience(provided.attachments)
    devices = provided.devices
    if devices is None:
        return run_init(library.rump_init, watches)
    try:
        error = run_init(library.rump_init, [*watches, devices.watch])
    except RumphyperError:
        if devices.arena.starved.is_set():
            _spoiled = "a boot in this process ran out of memory"
        provided.park()
        raise
    for device in devices.idle():
        cause = "no driver of this kernel took it"
        provided.hypervisor.reporter.say(f"{device.thing}: {cause}")
    return error


@contextlib.contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while: rumpuser_getparam reads them."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
