"""Booting NetBSD: find, load, start."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.hypercalls.faults import Attachment
from rumphyper.hypercalls.modes import check_mode
from rumphyper.hypercalls.override import Override
from rumphyper.hypercalls.trace import Trace
from rumphyper.kernel.attachments import read_attachments, run_init
from rumphyper.kernel.interrupt import GUARD, Guard, no_signals
from rumphyper.kernel.libraries import Libraries, Plan
from rumphyper.kernel.loader import load
from rumphyper.kernel.netbsd import Kernel
from rumphyper.kernel.providers import Provided, default_mode, provide

NEEDED = ("net", "netinet")
WANTED = (
    *("netinet6", "config", "local", "virtif", "shmif", "bridge"),
    *("vfs", "tmpfs", "dev", "bpf", "sysproxy"),
)
"""The default components: the second part as far as their libraries are there."""

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
) -> Kernel:
    """Boot NetBSD in this process and return the kernel.

    ``components`` are NetBSD's names (``net``, ``tmpfs``); what they need is
    loaded too. By default that is TCP/IP with all interfaces, local sockets
    and tmpfs. ``hypercalls`` says who answers the kernel, see `MODES`; by
    default ``hybrid``, or ``libc`` where there is no stock librumpuser.
    ``override`` answers families or single hypercalls in another way, see
    `rumphyper.hypercalls.override`. ``ncpu`` is the number of virtual CPUs
    (default: RUMP_NCPU in the environment, else 2); ``verbose`` shows NetBSD's
    boot messages. ``trace`` records hypercalls from the first one on.
    ``console`` gets what the kernel prints, in lines; by default that goes to
    the process's standard output. ``faults`` are what goes wrong on purpose, in
    words or as objects, and recorders and replays: see docs/faults.md.

    Raises LibraryError when libraries are missing or do not fit together,
    UnsupportedError for an unknown mode and for overrides that cannot work (a
    process can boot again after both), RumphyperError on a second
    boot: a process can boot once.
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
        names = default_components(libraries) if components is None else components
        plan = libraries.plan(names)
        settings = {"RUMP_NCPU": str(ncpu)} if ncpu else {}
        if verbose:
            settings["RUMP_VERBOSE"] = "1"
        with GUARD:
            mode = hypercalls or default_mode(libraries)
            provided = provide(mode, libraries, override, trace, console)
            provided.hypervisor.interrupted = lambda: GUARD.pending
            try:
                provided.put_before(attachments)
                _kernel = _start(plan, GUARD, provided, settings)
            except BaseException:
                provided.end_attachments()
                raise
            _kernel.quiet = not verbose and console is None
        return _kernel


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
        error = run_init(library.rump_init, provided.attachments)
        elapsed = time.perf_counter() - start
    if error:
        provided.check_version(plan.order[0].path)
        raise RumphyperError("the rump kernel", f"rump_init failed with {error}")
    _spoiled = ""
    kernel = Kernel(library, plan, guard, provided)
    kernel.started_in = elapsed
    return kernel


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
