"""Booting: the parts of the mini kernel, in the order of rump_init.

Each step puts its opposite on a stack, so that a boot that fails half way
leaves nothing behind and a shutdown is the boot backwards. Facts:
sys/rump/librump/rumpkern/rump.c.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import ExitStack

from rumphyper import __version__
from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.calls import Calls, check
from rumphyper.kernel.mini.clocks import now, prove_clocks
from rumphyper.kernel.mini.console import Console
from rumphyper.kernel.mini.contexts import Contexts
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.gate import START, gate
from rumphyper.kernel.mini.lwp import Lwps
from rumphyper.kernel.mini.memory import Memory
from rumphyper.kernel.mini.network import Network
from rumphyper.kernel.mini.packets import Packets
from rumphyper.kernel.mini.scheduler import Scheduler
from rumphyper.kernel.mini.threads import Thread, Threads
from rumphyper.kernel.mini.upcalls import Upcalls

PATIENCE = 1.0
"""Seconds that the network thread has to end before it is simply joined."""

PARAMETER = 256
"""Octets of the buffer for rumpuser_getparam."""


class System:
    """A kernel that has booted; ``undo`` gets the way back.

    ``report`` is told of every rule that the host breaks. Raises
    MiniKernelError when a hypercall fails; ``undo`` is to be closed then, too.
    """

    def __init__(
        self, calls: Calls, report: Callable[[str], None], undo: ExitStack
    ) -> None:
        self.calls = calls
        handlers: dict[str, Callable[..., object]] = {}
        gate().open(handlers, report)
        undo.callback(gate().close)
        check(
            "init",
            calls.init(abi.VERSION, ctypes.byref(gate().hyperup())),
            f"version {abi.VERSION}",
        )
        self.memory = Memory(calls)
        self.lwps = Lwps(calls, self.memory, report, undo)
        self.scheduler = Scheduler(calls, undo)
        self.upcalls = Upcalls(self.lwps, self.scheduler, report)
        handlers.update((name, getattr(self.upcalls, name)) for name in abi.UPCALLS)
        self._as_lwp0(undo)
        contexts = Contexts(calls, self.scheduler, self.lwps, report)
        undo.callback(contexts.close)
        start = gate().thread_start
        self.threads = Threads(
            calls, self.memory, self.lwps, self.upcalls, report, start, undo
        )
        handlers[START] = self.threads.start
        with self.upcalls.entered():
            self._boot(handlers, undo)

    def _as_lwp0(self, undo: ExitStack) -> None:
        """What comes before there is a scheduler, as lwp 0."""
        lwp0 = self.lwps.create(0, "swapper")
        undo.callback(self.lwps.destroy, lwp0)
        self.lwps.set(lwp0)
        try:
            self.cpus = self._cpus()
            self.booted = now(self.calls, abi.ABSMONO)
        finally:
            self.lwps.clear(lwp0)

    def _cpus(self) -> int:
        text = self.parameter(abi.PARAM_NCPU, "the number of CPUs")
        if not text.isdigit() or int(text) < 1:
            raise MiniKernelError(
                "rumpuser_getparam (_RUMPUSER_NCPU)",
                f"{text.decode(errors='replace')!r} is no number of CPUs",
                "set RUMP_NCPU to 1 or more",
                netbsd_errno=abi.EINVAL,
            )
        return int(text)

    def _boot(
        self, handlers: dict[str, Callable[..., object]], undo: ExitStack
    ) -> None:
        """The rest, with the virtual CPU."""
        self.console = Console(self.calls, self.memory, undo)
        self.console.banner(f"mini {__version__}, a teaching kernel\n")
        printf = self.console.printf
        printf(
            b"cpu0: one virtual CPU in use, the host offers %d\n",
            min(self.cpus, 1 << 16),
        )
        self.packets = Packets(self.calls, self.memory, undo)
        self.network = Network(self.calls, self.memory, self.packets, undo)
        handlers[abi.DELIVER] = self._deliver
        thread = self.threads.create("softnet", self.network.run)
        undo.callback(self._stop, thread)
        self.threads.allow()
        late = prove_clocks(self.calls, self.scheduler.pause)
        printf(b"timecounter: slept 1000 us three times, woke %d us late\n", late)
        self.hostname = self.parameter(abi.PARAM_HOSTNAME, "the host name")
        printf(b"hostname: %s\n", self.hostname)
        printf(b"memory: %d octets in use\n", self.memory.in_use)

    def _stop(self, thread: Thread) -> None:
        """End the network thread."""
        with self.upcalls.entered():
            if not self.network.stop(PATIENCE):
                self.console.printf(b"%s is slow to end\n", thread.name.encode())
            self.threads.join(thread)

    def _deliver(self, softc: int, iov: object, count: int) -> None:
        """rump_virtif_virt_deliverpkt: the caller has the virtual CPU."""
        lwp = self.lwps.current()
        if lwp is None or self.scheduler.owner is not lwp:
            raise MiniKernelError("a frame", "delivered without the virtual CPU")
        with self.scheduler.kernel_lock():
            self.network.input(softc, iov, count)

    def parameter(self, name: bytes, what: str) -> bytes:
        """A setting of the host; MiniKernelError when it has none."""
        buffer = self.memory.allocate(PARAMETER, what)
        try:
            errno = self.calls.getparam(name, buffer, PARAMETER)
            check("getparam", errno, name.decode())
            return ctypes.string_at(buffer)
        finally:
            self.memory.free(buffer)

    def random(self, size: int) -> bytes:
        """``size`` random octets; the host may give fewer at a time."""
        buffer = self.memory.allocate(size, "random octets")
        try:
            filled = 0
            while filled < size:
                got = ctypes.c_size_t(0)
                errno = self.calls.getrandom(
                    buffer + filled, size - filled, abi.RANDOM_HARD, ctypes.byref(got)
                )
                check("getrandom", errno, f"{size} octets")
                if not 0 < got.value <= size - filled:
                    raise MiniKernelError(
                        "rumpuser_getrandom", f"says that it gave {got.value} octets"
                    )
                filled += got.value
            return ctypes.string_at(buffer, size)
        finally:
            self.memory.free(buffer)
