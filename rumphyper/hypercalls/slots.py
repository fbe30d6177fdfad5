"""Where the hypervisor writes what answers: the slots behind the symbols.

With host/thunks they belong to a library that the dynamic linker knows. On an
architecture without machine-code templates there are no symbols; then a table
of addresses gives the same calls to whoever asks the hypervisor for them.
"""

from __future__ import annotations

import abc
import ctypes
from collections.abc import Iterable, Mapping

from rumphyper.host.libc import libc
from rumphyper.host.thunks import ThunkBuilder, supported
from rumphyper.hypercalls.record import Hypercall

VARIADIC_WORDS = 13
"""Arguments behind rumpuser_dprintf's format that are passed on."""


class Slots(abc.ABC):
    """One slot for each hypercall."""

    handle: ctypes.CDLL | None = None
    """The library that exports them."""

    @abc.abstractmethod
    def address(self, name: str) -> int:
        """What C calls for ``name``."""

    @abc.abstractmethod
    def set(self, name: str, target: int) -> None:
        """Let the C code at ``target`` answer ``name``."""

    @abc.abstractmethod
    def watch(self, name: str, watcher: int) -> None:
        """Let the C code at ``watcher`` see each call of ``name`` before that.

        It gets the arguments and returns a non-zero int. For calls that do not
        return or are variadic only; 0 ends it.
        """


class TableSlots(Slots):
    """A table of addresses: a kernel that asks `Hypervisor.symbol` can use it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._targets = dict.fromkeys(names, 0)

    def address(self, name: str) -> int:
        return self._targets[name]

    def set(self, name: str, target: int) -> None:
        self._targets[name] = target

    def watch(self, name: str, watcher: int) -> None:
        """Not possible without machine code: such calls go unseen."""


class ThunkSlots(Slots):
    """The symbols of a generated library, global for all that is loaded later.

    A call that may have to be watched runs a watcher first: until there is one,
    libc's getpid, which does nothing and is never 0.
    """

    def __init__(self, soname: str, calls: Mapping[str, Hypercall]) -> None:
        builder = ThunkBuilder(soname)
        self._watched = {
            call.name for call in calls.values() if call.noreturn or call.variadic
        }
        for name, call in calls.items():
            if name in self._watched:
                extra = VARIADIC_WORDS if call.variadic else 0
                builder.attempt(name, len(call.arguments) + extra, call.variadic)
            else:
                builder.jump(name)
        self.library = builder.load(ctypes.RTLD_GLOBAL)
        self.handle = self.library.handle
        for name in self._watched:
            self.watch(name, 0)

    def address(self, name: str) -> int:
        return self.library.address(name)

    def set(self, name: str, target: int) -> None:
        if name in self._watched:
            self.library[name].second = target
        else:
            self.library[name].target = target

    def watch(self, name: str, watcher: int) -> None:
        if name in self._watched:
            self.library[name].target = watcher or libc().getpid


def open_slots(soname: str, calls: Mapping[str, Hypercall]) -> Slots:
    """The slots for ``calls``, as symbols of a library where that is possible.

    Raises HostError when the host lets no code be loaded.
    """
    return ThunkSlots(soname, calls) if supported() else TableSlots(calls)
