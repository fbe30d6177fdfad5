"""The hypervisor: binds families to the symbols that a rump kernel calls.

It loads one generated library (host/thunks) that exports every name of the
catalogue. Each symbol is a jump through a slot, and the hypervisor writes into
the slot what answers: a ctypes callback around a Python function, or the
address of C code. Slots stay writable, so answers can be exchanged at any time.
"""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import libc
from rumphyper.hypercalls.around import Around, as_function
from rumphyper.hypercalls.binding import Binding, is_ours, missing
from rumphyper.hypercalls.calls import Calls
from rumphyper.hypercalls.catalogue import CATALOGUE, FAMILIES, lookup
from rumphyper.hypercalls.family import Family, Target
from rumphyper.hypercalls.guard import checked, guard
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.slots import Slots, open_slots
from rumphyper.hypercalls.switchboard import Switchboard
from rumphyper.hypercalls.trace import Trace

__all__ = ["SONAME", "Binding", "Hypervisor"]

Answer = Callable[..., Any]

SONAME = "librumpuser.so.0"
"""With this name the thunk library satisfies librump's DT_NEEDED."""


class Hypervisor:
    """All hypercalls of one kernel, ready to be called from C.

    ``families`` answer (see `Family`); a later one of the same name replaces
    an earlier one. ``override`` maps a family's name to another family object,
    or a hypercall's name (with or without prefix) to a Python callable, a C
    address or an `Around`. ``trace`` records every call from the start; see
    also `trace`.

    Raises UnsupportedError for a name that the catalogue does not have and for
    a callable that cannot take the hypercall's arguments.
    """

    def __init__(
        self,
        families: Iterable[Family],
        *,
        override: Mapping[str, Family | Target | Around] | None = None,
        trace: Trace | None = None,
        reporter: Reporter | None = None,
        soname: str = SONAME,
    ) -> None:
        self.reporter = reporter or Reporter()
        self.soname = soname
        self.families: dict[str, Family] = {}
        self.bindings: dict[str, Binding] = {
            name: Binding(call, None, "none") for name, call in CATALOGUE.items()
        }
        self.interrupted: Callable[[], object] = lambda: False
        """Whether the main thread is wanted out of the kernel: Ctrl-C waits."""

        self._arounds: dict[str, list[Around]] = {}
        self._board = Switchboard(self.reporter)
        self._slots: Slots | None = None
        self._closed = False
        for family in families:
            self._add(family)
        for name, replacement in (override or {}).items():
            if isinstance(replacement, Family):
                if name != replacement.family:
                    raise UnsupportedError(
                        f"override of {name!r}",
                        f"the object answers the family {replacement.family!r}",
                        "give it under its own name",
                    )
                self._add(replacement)
            elif isinstance(replacement, Around):
                self.add_around(name, replacement)
            else:
                self.bind(name, replacement)
        self._board.trace = trace

    def _add(self, family: Family) -> None:
        if family.family not in FAMILIES:
            raise UnsupportedError(
                f"family {family.family!r}",
                "not in the catalogue",
                f"known: {', '.join(FAMILIES)}",
            )
        self.families[family.family] = family
        for call in CATALOGUE.values():
            if call.family == family.family:
                target = family.target(call)
                provider = family.provider
                if isinstance(target, int) and provider == "python":
                    provider = "libc"
                self._bind(Binding(call, target, provider if target else "none"))

    def bind(self, name: str, target: Target, provider: str = "override") -> None:
        """Let ``target`` answer the hypercall ``name`` from now on.

        ``target`` is a Python callable (see `Family` for its arguments) or the
        address of a C function. Also while a kernel runs.
        """
        self._bind(Binding(lookup(name), target, provider))

    def add_around(self, name: str, around: Around) -> None:
        """Let ``around`` stand before what answers ``name``, now and later.

        The last one added is called first. Also while a kernel runs.
        """
        call = lookup(name)
        around.check(call)
        self._arounds.setdefault(call.name, []).append(around)
        self._refill(call)

    def remove_around(self, name: str, around: Around) -> None:
        """Take back `add_around`; nothing happens when it is not there."""
        call = lookup(name)
        arounds = self._arounds.get(call.name, [])
        if around in arounds:
            arounds.remove(around)
            self._refill(call)

    def callback(self, name: str, function: Answer) -> int:
        """The address of C code that calls ``function`` with a hypercall's arguments.

        For what stands behind a thunk; what is bound gets its own.
        """
        call = lookup(name)
        return self._board.callback(call, self._safe(call, function))

    def _refill(self, call: Hypercall) -> None:
        if self._slots is not None:
            self._fill(self.bindings[call.name])

    def _bind(self, binding: Binding) -> None:
        binding.check()
        self.bindings[binding.call.name] = binding
        self._refill(binding.call)

    def start(self, slots: Slots | None = None) -> Self:
        """Load the symbols with RTLD_GLOBAL and tell the families. Once only.

        ``slots`` are those that another hypervisor has abandoned.
        """
        if self._slots is None:
            self._slots = slots or open_slots(self.soname, CATALOGUE)
            self._board.open(self._slots)
            for binding in self.bindings.values():
                self._fill(binding)
            atexit.register(self.park)
            for family in self.families.values():
                family.start(self)
        return self

    def symbol(self, name: str) -> int:
        """The address that C calls for the hypercall ``name``."""
        if self._slots is None:
            raise UnsupportedError(
                name, "the hypervisor has not been started", "call start() first"
            )
        return self._slots.address(lookup(name).name)

    @property
    def handle(self) -> ctypes.CDLL | None:
        """The library that exports the symbols, for dlsym(3).

        None before `start`, and where symbols cannot be made.
        """
        return self._slots.handle if self._slots is not None else None

    def function(self, name: str) -> Callable[..., Any]:
        """The hypercall ``name`` as a C function, called as a kernel does."""
        call = lookup(name)
        prototype: Callable[..., Any] = call.prototype()(self.symbol(call.name))
        return prototype

    @property
    def calls(self) -> Calls:
        """All hypercalls as C functions by their full names, typed."""
        return Calls(self.function)

    @property
    def trace(self) -> Trace | None:
        """Where calls are recorded; may be set and cleared at any time."""
        return self._board.trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._board.trace = trace

    @property
    def counting(self) -> bool:
        """Whether calls are counted, for `counts`; may be set at any time.

        It costs some nanoseconds a call and may stay on.
        """
        return self._board.counting

    @counting.setter
    def counting(self, on: bool) -> None:
        self._board.counting = on

    def counts(self) -> dict[str, int]:
        """Calls by name while `counting` was on, the most frequent first."""
        return self._board.counts()

    def _fill(self, binding: Binding) -> None:
        """Write into the slot what answers."""
        call, target = binding.call, binding.target
        if target is None:
            target = missing(call, self.reporter)
        if not isinstance(target, int):
            target = self._safe(call, target)
        for around in self._arounds.get(call.name, ()):
            target = self._safe(call, around.wrap(as_function(call, target)))
        self._board.connect(call, target)

    def _safe(
        self, call: Hypercall, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """``function`` such that C may call it: its results fit, it never raises."""
        if not is_ours(function):
            function = checked(call, function)
        return guard(call, function, self.reporter)

    def abandon(self) -> Slots | None:
        """Close, and give up the symbols for another hypervisor to `start` with.

        Before a kernel is loaded only. A process cannot have two sets of them,
        for what is loaded later takes those that were loaded first.
        """
        self.close()
        self._board.open(None)
        atexit.unregister(self.park)
        slots, self._slots = self._slots, None
        return slots

    def close(self) -> None:
        """Stop answering: the families close, later calls fail. Idempotent.

        The symbols and callbacks stay in place, for a thread of a kernel may
        still call them.
        """
        if self._closed:
            return
        self._closed = True
        for family in reversed(list(self.families.values())):
            family.stop()
        self.trace = None

    def park(self) -> None:
        """Let every later call of a Python function sleep for ever, in C.

        For the end of the process, where it happens by itself: a kernel's
        thread must not call into an interpreter that is being taken down.
        """
        if self._slots is None:
            return
        self.trace = None
        pause = ctypes.cast(libc().pause, ctypes.c_void_p).value or 0
        for binding in self.bindings.values():
            name = binding.call.name
            if not isinstance(binding.target, int) or name in self._arounds:
                self._slots.watch(name, 0)
                self._slots.set(name, pause)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
