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
from rumphyper.hypercalls.slots import VARIADIC_WORDS, Slots, open_slots
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
        self._trace = trace
        self._arounds: dict[str, list[Around]] = {}
        self._slots: Slots | None = None
        self._kept: list[object] = []
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
        return self._callback(call, self._safe(call, function))

    def _refill(self, call: Hypercall) -> None:
        if self._slots is not None:
            self._fill(self.bindings[call.name])

    def _bind(self, binding: Binding) -> None:
        binding.check()
        self.bindings[binding.call.name] = binding
        self._refill(binding.call)

    def start(self) -> Self:
        """Load the symbols with RTLD_GLOBAL and tell the families. Once only."""
        if self._slots is None:
            self._slots = open_slots(self.soname, CATALOGUE)
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
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._trace = trace
        if self._slots is not None:
            for binding in self.bindings.values():
                self._fill(binding)

    def _fill(self, binding: Binding) -> None:
        """Write into the slot what answers."""
        assert self._slots is not None
        call, target = binding.call, binding.target
        if target is None:
            target = missing(call, self.reporter)
        trace = self._trace
        if trace is not None and not trace.wants(call):
            trace = None
        arounds = self._arounds.get(call.name, ())
        if arounds:
            if not isinstance(target, int):
                target = self._safe(call, target)
            target = as_function(call, target)
            for around in arounds:
                target = self._safe(call, around.wrap(target))
        if isinstance(target, int):
            watched = call.noreturn or call.variadic
            if watched:
                watcher = self._watcher(call, trace) if trace is not None else 0
                self._slots.watch(call.name, watcher)
            if watched or trace is None:
                self._slots.set(call.name, target)
                return
            target = as_function(call, target)
        function = self._safe(call, target)
        if trace is not None:
            function = guard(call, trace.wrap(call, function), self.reporter)
        self._slots.set(call.name, self._callback(call, function))

    def _safe(
        self, call: Hypercall, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """``function`` such that C may call it: its results fit, it never raises."""
        if not is_ours(function):
            function = checked(call, function)
        return guard(call, function, self.reporter)

    def _callback(self, call: Hypercall, function: Callable[..., Any]) -> int:
        """The address of C code that calls ``function``; kept for ever.

        Never freed before this object: C code may be inside at any time.
        """
        extra = VARIADIC_WORDS if call.variadic else 0
        callback = call.callback_type(extra)(function)
        self._kept.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p).value or 0

    def _watcher(self, call: Hypercall, trace: Trace) -> int:
        """The address of C code that records ``call`` and returns non-zero."""
        arguments = (argument.type.callback_type() for argument in call.arguments)
        callback = ctypes.CFUNCTYPE(ctypes.c_int, *arguments)(trace.note(call))
        self._kept.append(callback)
        return ctypes.cast(callback, ctypes.c_void_p).value or 0

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

    def park(self) -> None:
        """Let every later call of a Python function sleep for ever, in C.

        For the end of the process, where it happens by itself: a kernel's
        thread must not call into an interpreter that is being taken down.
        """
        if self._slots is None:
            return
        pause = ctypes.cast(libc().pause, ctypes.c_void_p).value or 0
        for binding in self.bindings.values():
            name = binding.call.name
            answers = not isinstance(binding.target, int) or name in self._arounds
            if answers or self._trace is not None:
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
