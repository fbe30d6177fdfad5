"""EAL, DPDK's environment: started once in a process, and never again.

DPDK lib/eal/linux/eal.c: rte_eal_init refuses a second start, also after
rte_eal_cleanup.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator

from rumphyper.dpdk.arguments import Options, arguments
from rumphyper.dpdk.library import Dpdk, dpdk
from rumphyper.dpdk.log import Log
from rumphyper.errors import HostError, LinkClosedError, RumphyperError

__all__ = ["Eal", "Options", "eal", "running", "start"]

_lock = threading.RLock()
_current: Eal | None = None
_failure: HostError | None = None
"""Why EAL refused to start: it then has kept half of its arguments."""

ONCE = "EAL can be started once in a process: use another process"


class Eal:
    """EAL, running. `start` makes it; `close` ends it for good.

    A failure of DPDK is an exception with the lines that DPDK logged. What is
    logged otherwise goes to the logger ``rumphyper.dpdk``.
    """

    def __init__(self, options: Options) -> None:
        self.dpdk: Dpdk = dpdk()
        self.lib = self.dpdk.lib
        self.options = options
        self.closed = False
        self.pid = os.getpid()
        self.lock = threading.RLock()
        """Held by who changes devices: DPDK's control functions are not for two."""

        self.closing: list[Callable[[], object]] = []
        """How to close what is open, which has to be done before EAL ends."""

        self.cleans_up = True
        """Whether `close` ends EAL itself, or leaves that to the process's end."""

        self.in_use: set[int] = set()
        """The numbers of ports that somebody has."""

        self._local = threading.local()
        self._runtime = tempfile.mkdtemp(prefix="rumphyper-dpdk-")
        self.log = Log(self.dpdk)
        self.arguments = arguments(options, f"rumphyper{self.pid}")
        try:
            self._start()
        except BaseException:
            self.log.close()
            shutil.rmtree(self._runtime, ignore_errors=True)
            raise
        self._local.registration = self  # EAL's main thread needs none

    def _start(self) -> None:
        words = [word.encode() for word in self.arguments]
        argv = (ctypes.c_char_p * (len(words) + 1))(*words)
        affinity = os.sched_getaffinity(0)
        with _environment("RUNTIME_DIRECTORY", self._runtime):
            result = self.lib.rte_eal_init(len(words), argv)
        os.sched_setaffinity(0, affinity)  # EAL pins the thread that starts it
        if result < 0:
            raise self.failure("EAL", result, _remedy(self.options))
        self._argv = argv  # which EAL keeps pointers to
        if not any(files for _, _, files in os.walk(self._runtime)):
            # Nothing is shared with others: so a process that is killed leaves none.
            shutil.rmtree(self._runtime, ignore_errors=True)

    def failure(self, thing: str, code: int, remedy: str = "") -> HostError:
        """The error for a function that returned ``code``, and what was logged.

        ``code`` is a negative errno, or -1 to take rte_errno.
        """
        number = self.dpdk.errno() if code == -1 else -code
        logged = self.log.recent()
        cause = self.lib.rte_strerror(number).decode(errors="replace")
        if logged:  # rte_errno may be of another call
            cause = logged if code == -1 else f"{cause}: {logged}"
        return HostError(thing, cause, remedy, number)

    def check(self, result: int, thing: str, remedy: str = "") -> int:
        """Return what a function returned; raise HostError for a negative errno."""
        if result < 0:
            raise self.failure(thing, result, remedy)
        return result

    def check_running(self) -> None:
        """Raise LinkClosedError after `close`, HostError in a forked child."""
        if self.closed:
            raise LinkClosedError("EAL", "it has been closed", ONCE)
        if os.getpid() != self.pid:
            cause = "it belongs to the parent of this process"
            raise HostError("EAL", cause, "start it after the fork")

    def enter(self) -> None:
        """Make this thread one that DPDK knows, until the thread ends.

        Its mempools then have a cache for it. No more than 127 threads can be
        known; those above that work, slower. Raises as `check_running` does.
        """
        if os.getpid() != self.pid or self.closed:
            self.check_running()
        if not hasattr(self._local, "registration"):
            self._local.registration = _Registration(self)

    def close(self) -> None:
        """Close all that is open, and EAL. Idempotent; nothing in a forked child."""
        if os.getpid() != self.pid:
            return
        for close in reversed(list(self.closing)):  # which take locks of their own
            with contextlib.suppress(RumphyperError):
                close()
        with self.lock:
            if not self.closed:
                self.closed = True
                if self.cleans_up:
                    self.lib.rte_eal_cleanup()
                self.log.close()
                shutil.rmtree(self._runtime, ignore_errors=True)


class _Registration:
    """A thread that DPDK knows; goes with the thread's local storage."""

    def __init__(self, eal: Eal) -> None:
        self._eal = eal
        self._known = eal.lib.rte_thread_register() == 0

    def __del__(self) -> None:
        if self._known and not self._eal.closed:
            self._eal.lib.rte_thread_unregister()


def start(options: Options | None = None) -> Eal:
    """Start EAL on this thread.

    Raises HostError (it was started before; it refuses, with what it logged),
    LibraryError and UnsupportedError (see `rumphyper.dpdk.library.dpdk`).
    """
    global _current, _failure
    with _lock:
        if _current is not None:
            state = "was closed" if _current.closed else "is running"
            raise HostError("EAL", f"it {state} already", ONCE)
        if _failure is not None:
            cause = f"it has been refused before: {_failure.cause}"
            raise HostError("EAL", cause, ONCE)
        chosen = options or Options()
        chosen.check()
        try:
            _current = Eal(chosen)
        except HostError as error:
            _failure = error
            raise
        atexit.register(_current.close)
        return _current


def running() -> Eal | None:
    """EAL if it has been started, closed or not."""
    return _current


def eal(pci: str = "") -> Eal:
    """EAL, which is started with defaults unless it is running.

    ``pci`` is the address of a device that is about to be opened. Raises as
    `start` does, and LinkClosedError when it has been closed.
    """
    with _lock:
        if _current is None:
            return start(Options(pci=[pci] if pci else ()))
        _current.check_running()
        return _current


def _remedy(options: Options) -> str:
    if options.arguments:
        return f"see the arguments: {' '.join(options.arguments)}"
    if options.hugepages:
        return "reserve huge pages (/proc/sys/vm/nr_hugepages), or hugepages=False"
    return "see DPDK's guide for Linux; `rumphyper doctor` tells what is there"


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, as C sees it, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
