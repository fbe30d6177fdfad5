"""An override that keeps the answer it stands in front of.

    def late(clock_gettime, clock, sec, nsec):
        error = clock_gettime(clock, sec, nsec)
        sec[0] += 3600
        return error

    boot(override={"clock_gettime": Around(late)})

Whoever answers, Python or C, and whoever answers later, for a hypercall may be
bound anew while a kernel runs: the function gets that answer as its first
argument and calls it, or does not.
"""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from typing import Any

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.family import Target
from rumphyper.hypercalls.record import Hypercall

Function = Callable[..., Any]


class Around:
    """``function(original, *arguments)`` answers a hypercall.

    It gets and returns what a function of a `Family` does. ``original`` takes
    the same arguments and returns the same result.
    """

    def __init__(self, function: Function) -> None:
        self.function = function

    def check(self, call: Hypercall) -> None:
        """Raise UnsupportedError when the function cannot stand before ``call``."""
        if call.noreturn:
            raise UnsupportedError(
                f"Around of {call.name}",
                "it does not return, and ends its thread in C",
                f"override {call.method!r} with a function",
            )
        if call.variadic:
            raise UnsupportedError(
                f"Around of {call.name}",
                "its arguments cannot be passed on from Python",
                f"override {call.method!r} with a function",
            )
        try:
            inspect.signature(self.function).bind(None, *call.arguments)
        except TypeError as error:
            raise UnsupportedError(
                f"Around of {call.name}",
                str(error),
                f"it is called with the answer, then as: {call.signature}",
            ) from None
        except ValueError:  # a builtin that does not tell
            pass

    def wrap(self, original: Function) -> Function:
        """The function that answers in place of ``original``."""
        function = self.function

        def answer(*arguments: Any) -> Any:
            return function(original, *arguments)

        answer.__module__ = getattr(function, "__module__", "")
        answer.__qualname__ = getattr(function, "__qualname__", repr(function))
        return answer


def as_function(call: Hypercall, target: Target) -> Function:
    """What answers ``call`` as a Python function, C code by its address included."""
    if not isinstance(target, int):
        return target
    function: Function = call.prototype()(target)
    if call.result.ctype is not ctypes.c_void_p:
        return function

    def pointer(*values: Any) -> int:
        return function(*values) or 0  # ctypes has None for a null pointer

    return pointer
