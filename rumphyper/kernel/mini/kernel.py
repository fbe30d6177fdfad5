"""The mini kernel: boots over hypercalls, has interfaces, answers pings.

with Hypervisor(python_families()) as hypervisor:
    with MiniKernel(hypervisor) as kernel:
        kernel.create_interface("virt0", "shmif:/tmp/bus", ["10.0.0.2/24"])
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

from typing_extensions import Self

from rumphyper.kernel.interrupt import GUARD
from rumphyper.kernel.mini import abi
from rumphyper.kernel.mini.attach import attach, disconnect, exists
from rumphyper.kernel.mini.calls import Calls, Library
from rumphyper.kernel.mini.errors import ContextError, MiniKernelError
from rumphyper.kernel.mini.interface import (
    Interface,
    Softc,
    check_name,
    parse_addresses,
)
from rumphyper.kernel.mini.statistics import Statistics
from rumphyper.kernel.mini.system import System
from rumphyper.net.mac import format_mac


class MiniKernel:
    """One mini kernel; one at a time in a process, any number in turn.

    ``library`` is where the hypercalls are: a started `Hypervisor`, a
    ctypes.CDLL, or None for all that was loaded with RTLD_GLOBAL. Any thread
    may use the kernel. ``violations`` lists the rules that the host has broken
    since the boot; `shutdown` raises ContextError if there are any.
    """

    def __init__(self, library: Library = None) -> None:
        self._library = library
        self._guard = GUARD
        self._system: System | None = None
        self._undo = ExitStack()
        self._ending = threading.RLock()
        self._calls: Calls | None = None
        self._messages = ""
        self.violations: list[str] = []

    def boot(self) -> Self:
        """Boot. Raises MiniKernelError, and then leaves nothing behind."""
        if self._system is not None:
            raise MiniKernelError(
                "mini kernel", "it runs already", netbsd_errno=abi.EBUSY
            )
        self.violations.clear()
        self._calls = Calls(self._library)
        with self._guard, ExitStack() as undo:
            undo.callback(self._guard.release)
            self._system = System(self._calls, self._report, undo)
            self._undo = undo.pop_all()
        return self

    def _report(self, text: str) -> None:
        """Note a rule that the host has broken, and say so on the console."""
        self.violations.append(text)
        if self._calls is not None:
            self._calls.dprintf(b"mini: %s\n", text.encode())

    @contextmanager
    def _entered(self) -> Iterator[System]:
        """Around a call into the kernel: as a system call enters and leaves."""
        system = self._system
        if system is None:
            raise MiniKernelError("mini kernel", "it is not running", "boot it first")
        with self._guard, system.upcalls.entered():
            try:
                yield system
            except MiniKernelError as error:
                if error.netbsd_errno:
                    system.calls.seterrno(error.netbsd_errno)
                raise

    def create_interface(
        self, name: str, linkstr: str, addresses: Sequence[str] = ()
    ) -> Interface:
        """Make the interface ``name`` (virt0) on ``linkstr`` and bring it up.

        ``addresses`` are written as ``10.0.0.2/24`` and ``fd00::2/64``. Raises
        MiniKernelError, or AddressError for one that no station can have.
        """
        check_name(name)
        parsed = parse_addresses(addresses)
        if not linkstr or "\0" in linkstr:
            raise MiniKernelError(
                f"linkstr {linkstr!r}", "empty, or with a null character"
            )
        with self._entered() as system:
            if system.network.find(name) is not None:
                raise exists(name)
            softc = system.memory.allocate(ctypes.sizeof(Softc), name)
            try:
                interface = Interface(name, linkstr, softc)
                attach(system, interface, parsed)
            except BaseException:
                system.memory.free(softc)
                raise
            printf = system.console.printf
            printf(
                b"%s: Ethernet address %s\n",
                name.encode(),
                format_mac(interface.mac).encode(),
            )
            for address in interface.addresses:
                printf(b"%s: address %s\n", name.encode(), str(address).encode())
            return interface

    def destroy_interface(self, name: str) -> None:
        """Close the interface's link and forget it; MiniKernelError if unknown."""
        with self._entered() as system:
            interface = system.network.remove(name)
            if interface is None:
                raise MiniKernelError(
                    f"interface {name!r}", "there is none", netbsd_errno=abi.ENXIO
                )
            try:
                disconnect(system, interface)
            finally:
                system.memory.free(interface.softc)

    def interfaces(self) -> list[Interface]:
        """The interfaces that exist, oldest first."""
        with self._entered() as system:
            return system.network.interfaces()

    def sleep(self, seconds: float) -> None:
        """Sleep in the kernel, without its virtual CPU."""
        with self._entered() as system:
            system.scheduler.pause(seconds)

    def statistics(self) -> Statistics:
        """The figures of this moment."""
        with self._entered() as system:
            return Statistics.of(system)

    def messages(self) -> str:
        """What the kernel has printed, as dmesg(8) shows it; also afterwards."""
        if self._system is None:
            return self._messages
        return self._system.console.messages()

    @property
    def running(self) -> bool:
        return self._system is not None

    def shutdown(self) -> None:
        """Close the interfaces, end the threads, give everything back. Idempotent.

        Raises ContextError when the host has broken rules, or when something
        is left over; the kernel is down all the same.
        """
        with self._ending, self._guard:
            if self._system is None:
                return
            for interface in self.interfaces():
                try:
                    self.destroy_interface(interface.name)
                except MiniKernelError as error:
                    self._report(str(error))
            system, self._system = self._system, None
            if system.packets.in_use:
                self._report(f"{system.packets.in_use} packets are left over")
            system.console.printf(b"syncing nothing, halted\n")
            try:
                self._undo.close()
            except MiniKernelError as error:
                self._report(str(error))
            self._messages = system.console.messages()
            for address, size in system.memory.outstanding.items():
                self._report(f"{size} octets at {address:#x} are left over")
        if self.violations:
            raise ContextError(self.violations)

    def __enter__(self) -> Self:
        return self if self.running else self.boot()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
