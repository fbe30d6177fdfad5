"""Calls that fail, and calls that take their time: for any hypercall."""

from __future__ import annotations

import ctypes
import time
from typing import Any

from rumphyper.errors import FaultError
from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.ctype import OUT_POINTER
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.faults.base import Fault
from rumphyper.hypercalls.faults.when import When
from rumphyper.hypercalls.record import Hypercall

KEEP_THE_CPU = ("locks", "component")
"""Families that may wait, but whose callers must not lose the virtual CPU here:
it is what these calls are about."""


class Failing(Fault):
    """Some calls of the hypercall ``name`` fail with ``errno``, undone.

    ``errno`` is NetBSD's; by default what the catalogue has for the hypercall.
    Raises UnsupportedError for a name that is unknown, FaultError for a
    hypercall that cannot fail.
    """

    def __init__(
        self, name: str, when: When, errno: Errno | None = None, text: str = ""
    ) -> None:
        self.call = check_can_fail(lookup(name))
        self.when = when
        self.errno = self.call.failure if errno is None else errno
        self._pointers = [
            place
            for place, argument in enumerate(self.call.arguments)
            if argument.type is OUT_POINTER
        ]
        super().__init__(text or name, {name: Around(self._answer)})

    def _answer(self, original: Function, *arguments: Any) -> Any:
        with self.lock:
            self.calls += 1
            number, meant = self.calls, self.when()
        if not meant or self.gives_way():
            return original(*arguments)
        for place in self._pointers:  # librumpuser: NULL when there is no memory
            if arguments[place]:
                arguments[place][0] = None
        name = self.call.name
        self.strike(f"call {number} of {name} fails with {self.errno.name}")
        return self.errno


def check_can_fail(call: Hypercall) -> Hypercall:
    """Return ``call``; FaultError when its result cannot tell of a failure."""
    if call.fails_with_errno:
        return call
    cause = "it has no result to fail with"
    if call.noreturn:
        cause = "it does not return"
    elif call.result.ctype is not None:
        cause = f"its result is no errno but {call.returns}"
    remedy = "it can be slow: delay=TIME"
    if call.noreturn or call.variadic:
        remedy = "choose another"
    raise FaultError(f"failing {call.name}", cause, remedy)


class Slow(Fault):
    """Some calls of the hypercall ``name`` begin ``delay`` seconds late.

    A hypercall that may wait gives up the virtual CPU meanwhile, as a slow host
    would; any other keeps the kernel's CPU busy. Raises UnsupportedError.
    """

    def __init__(self, name: str, when: When, delay: float, text: str = "") -> None:
        self.call = lookup(name)
        self.when = when
        self.delay = delay
        self._away = self.call.blocks and self.call.family not in KEEP_THE_CPU
        super().__init__(text or name, {name: Around(self._answer)})

    def _answer(self, original: Function, *arguments: Any) -> Any:
        with self.lock:
            self.calls += 1
            number, meant = self.calls, self.when()
        if meant:
            name = self.call.name
            self.strike(f"call {number} of {name} is {self.delay:g} s late")
            self._wait()
            with self.lock:
                self.waited += self.delay
        return original(*arguments)

    def _wait(self) -> None:
        hypervisor = self.hypervisor
        if not self._away or hypervisor is None:
            time.sleep(self.delay)
            return
        unschedule = hypervisor.function("rumpuser_component_unschedule")
        schedule = hypervisor.function("rumpuser_component_schedule")
        cookie = unschedule()
        try:
            time.sleep(self.delay)
        finally:
            schedule(ctypes.c_void_p(cookie))
