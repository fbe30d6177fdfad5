"""NetBSD in this process: booting the rump kernel, and calling it.

    kernel = rumphyper.boot()
    kernel.syscall("getpid")

One kernel per process, once: a rump kernel keeps its state in its libraries'
variables and cannot be started twice (NetBSD sys/rump/librump/rumpkern/rump.c,
rump_init), and its threads do not survive fork(2).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from typing_extensions import Self

from rumphyper.errors import KernelClosedError, KernelError
from rumphyper.hypercalls.errno import to_host
from rumphyper.hypercalls.faults import Attachment
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.kernel.expose import ExposeCalls
from rumphyper.kernel.face import Face
from rumphyper.kernel.interrupt import NUMBERS, Guard, get_handler
from rumphyper.kernel.libraries import Plan
from rumphyper.kernel.local import LocalTransport
from rumphyper.kernel.lwp import Here
from rumphyper.kernel.network import NetworkCalls
from rumphyper.kernel.providers import Provided
from rumphyper.kernel.serving import ServeCalls
from rumphyper.kernel.shutdown import Closer, reboot
from rumphyper.kernel.syscalls import argument, failed, result_type, symbol
from rumphyper.kernel.versions import version_text


class Kernel(NetworkCalls, ExposeCalls, ServeCalls, Face):
    """The running NetBSD kernel; made by `boot`.

    Any thread may use it. Everything raises KernelClosedError once it is
    closed, and in a process forked off after the boot.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        plan: Plan,
        guard: Guard,
        provided: Provided,
    ) -> None:
        NetworkCalls.__init__(self)
        Face.__init__(self, LocalTransport(self))
        self.library = library
        """Finds every symbol of the kernel; errno is kept (use_errno)."""

        self.plan = plan
        self.guard = guard
        """Holds signals back while the main thread is inside: see interrupt.py."""

        self.provided = provided
        self.virtif = provided.virtif
        self.quiet = True
        """Whether the end of the kernel goes without its messages."""

        self.started_in = 0.0
        """Seconds that rump_init took."""

        self._down = False
        self._forked = False
        self._here = Here(self)
        self._functions: dict[str, Any] = {}
        pointer, number, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
        self.ioctl = self.function(symbol("ioctl"), number, number, long, pointer)
        """int (*)(int, u_long, void *), to be called by `invoke`; so the next two."""

        self.sysctl = self.function(
            *(symbol("__sysctl"), number),
            *(pointer, ctypes.c_uint, pointer, pointer, pointer, long),
        )
        self.write = self.function(
            symbol("write"), ctypes.c_ssize_t, number, ctypes.c_char_p, long
        )
        self._closer = Closer(self.guard, self._end)
        os.register_at_fork(after_in_child=self._after_fork)

    @property
    def hypervisor(self) -> Hypervisor:
        """What answers the kernel's hypercalls."""
        return self.provided.hypervisor

    @property
    def attachments(self) -> Sequence[Attachment]:
        """The faults, recorders and replays that it was booted with."""
        return self.provided.attachments

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components that are loaded."""
        return tuple(component.name for component in self.plan.order)

    @property
    def version(self) -> str:
        """NetBSD's version, such as ``7.99.34``."""
        return version_text(self.function("rump_getversion")())

    @property
    def closed(self) -> bool:
        """Whether the kernel cannot be called (any more) from this process."""
        return self._down

    def check_open(self) -> None:
        """Raise KernelClosedError when the kernel cannot be called."""
        if self._forked:
            raise KernelClosedError(
                "the rump kernel",
                "it runs in the process that this one was forked from",
                "boot after the fork, or start programs with subprocess",
            )
        if self._down:
            raise KernelClosedError(
                "the rump kernel",
                "it has been shut down",
                "one process can boot once: start another process",
            )

    def _after_fork(self) -> None:
        self._forked = self._down = True

    def function(self, name: str, result: Any = ctypes.c_int, *arguments: Any) -> Any:
        """A function of the kernel's libraries with the given ctypes types.

        Call it through `invoke`. Raises KernelError when no library has it.
        """
        prototype = ctypes.CFUNCTYPE(result, *arguments, use_errno=True)
        try:
            return prototype((name, self.library))
        except AttributeError:
            raise KernelError(
                name,
                "no component that is loaded has this function",
                f"loaded are: {', '.join(self.components)}",
            ) from None

    def invoke(self, function: Any, *arguments: Any) -> int:
        """Call one of the kernel's functions from this thread; return its result.

        Takes care of the thread's lwp and of signals, see interrupt.py. A
        system call that fails returns NetBSD's errno, negative. Raises
        KernelClosedError, and in the main thread what signal handlers raise.
        """
        if self._down:
            self.check_open()
        result: int
        if not self._here.main:
            result = function(*arguments)
            return failed() if result == -1 else result
        guard = self.guard
        guard.depth += 1  # what Guard.enter and leave do, without their calls
        try:
            if tuple(map(get_handler, NUMBERS)) != guard.seen:
                guard.adopt()
            result = function(*arguments)
            if result == -1:
                result = failed()
        finally:
            guard.depth -= 1
            if guard.pending and not guard.depth:
                guard.deliver()
        return result

    def syscall(self, name: str, *arguments: object) -> int:
        """Make the system call ``name`` (``socket``) and return its result.

        ``arguments`` are integers, bytes or ctypes objects. Raises KernelError
        with the host's errno, KernelClosedError.
        """
        function = self._functions.get(name)
        if function is None:
            full = symbol(name)
            # Without parameter types: `argument` gives integers their full width.
            function = self.function(full, result_type(full))
            self._functions[name] = function
        result = self.invoke(function, *map(argument, arguments))
        if result < 0:
            raise self.error(-result, name)
        return result

    def error(self, number: int, thing: str, remedy: str = "") -> KernelError:
        """The KernelError for NetBSD's errno ``number``."""
        host = to_host(number)
        return KernelError(thing, os.strerror(host), remedy, host, number)

    def close(self) -> None:
        """Shut the kernel down: interfaces, file systems, threads. Idempotent.

        Called at the end of the process if it was not before. What other
        threads wait for in the kernel never comes.
        """
        self._closer.close()

    def _end(self) -> None:
        """What `close` has to do, in order; runs on the closer's thread."""
        self.provided.end_attachments()
        try:
            self._stop_serving()
            self.destroy_all()
        finally:
            self._down = True
            try:
                if self.provided.interposed:
                    self.provided.prepare_end(self.quiet)
                    reboot(self.library)
                    self.provided.park()
            finally:
                if self.provided.devices is not None:
                    self.provided.devices.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Kernel {'closed' if self.closed else 'NetBSD ' + self.version}>"
