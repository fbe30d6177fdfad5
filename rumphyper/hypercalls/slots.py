"""Where the hypervisor writes what answers: the slots behind the symbols.

With host/thunks they belong to a library that the dynamic linker knows. On an
architecture without machine-code templates there are no symbols; then a table
of addresses gives the same calls to whoever asks the hypervisor for them.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping

from rumphyper.hypercalls.record import Hypercall


class Slots(abc.ABC):
    """One slot for each hypercall."""

    exported: bool
    """Whether C code finds them as symbols."""

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

    exported = False

    def __init__(self, names: Iterable[str]) -> None:
        self._targets = dict.fromkeys(names, 0)

    def address(self, name: str) -> int:
        return self._targets[name]

    def set(self, name: str, target: int) -> None:
        self._targets[name] = target

    def watch(self, name: str, watcher: int) -> None:
        """Not possible without machine code: such calls go unseen."""


def open_slots(soname: str, calls: Mapping[str, Hypercall]) -> Slots:
    """The slots for ``calls``, as symbols of a library where that is possible."""
    return TableSlots(calls)
