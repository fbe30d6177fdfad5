"""What answers a hypercall, and whether it can."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import attrs

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import libc
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Target
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import HypercallError, Reporter
from rumphyper.hypercalls.slots import VARIADIC_WORDS


@attrs.frozen
class Binding:
    """What answers one hypercall."""

    call: Hypercall
    target: Target | None
    """None: nobody, a call of it is reported and fails."""

    provider: str
    """Who that is, in a word: python, libc, override, none..."""

    def check(self) -> None:
        """Raise UnsupportedError when the target cannot answer the call at all."""
        target = self.target
        if target is None or isinstance(target, int):
            return
        if not callable(target):
            raise UnsupportedError(
                self.call.name,
                f"{target!r} cannot answer it",
                "give a callable or the address of a C function",
            )
        try:
            signature = inspect.signature(target)
        except (TypeError, ValueError):  # a builtin that does not tell
            return
        extra = VARIADIC_WORDS if self.call.variadic else 0
        try:
            signature.bind(*self.call.arguments, *range(extra))
        except TypeError as error:
            more = f" and {extra} machine words" if extra else ""
            raise UnsupportedError(
                f"function for {self.call.name}",
                str(error),
                f"it is called with the arguments of: {self.call.signature}{more}",
            ) from None


def is_ours(function: Callable[..., Any]) -> bool:
    """Whether it is of this package, whose functions return what C wants."""
    return str(getattr(function, "__module__", "")).startswith("rumphyper.")


def missing(call: Hypercall, reporter: Reporter) -> Callable[..., Any]:
    """What answers a hypercall that nobody provides.

    It fails with ENOSYS. A void one cannot fail, and the kernel would go on as
    if it had been done: that ends the process.
    """
    fatal = call.result.ctype is None

    def problem() -> HypercallError:
        return HypercallError(
            "no family provides it",
            "the kernel needs it" if fatal else "it fails with ENOSYS",
            f"add the family {call.family!r} or an override of {call.method!r}",
            errno=Errno.ENOSYS,
        )

    def fails(*values: Any) -> Any:
        raise problem()

    def stops(*values: Any) -> Any:
        reporter.exception(call.name, problem())
        libc().abort()

    return stops if fatal else fails
