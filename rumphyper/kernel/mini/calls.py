"""The mini kernel's side of the hypercalls: symbols found, pointers called.

A rump kernel is linked against its hypercalls; this one looks each up by name
when it boots and calls it through a C function pointer, as C would.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

from rumphyper.kernel.mini.abi import HYPERCALLS
from rumphyper.kernel.mini.errors import MiniKernelError, errno_name


class Host(Protocol):
    """Who provides the hypercalls: a `Hypervisor`."""

    @property
    def handle(self) -> ctypes.CDLL | None:
        """The library that exports them; None where that cannot be."""

    def symbol(self, name: str) -> int:
        """The address of ``name``, for a host without such a library."""


Library = Host | ctypes.CDLL | None
"""Where the hypercalls are: a hypervisor, a loaded library, or None for every
library of this process that was loaded with RTLD_GLOBAL."""

Function = Callable[..., Any]


class Calls:
    """Every hypercall of the mini kernel, as an attribute without prefix.

    ``calls.malloc(...)`` calls rumpuser_malloc, ``calls.virt_send(...)``
    rumpcomp_virt_send. Raises MiniKernelError for a symbol that is missing.
    """

    def __init__(self, library: Library = None) -> None:
        for name, prototype in HYPERCALLS.items():
            function = prototype(_find(library, name))
            setattr(self, short_name(name), function)

    def __getattr__(self, name: str) -> Function:
        # only for names that __init__ has not set, and for the type checker
        raise AttributeError(f"the mini kernel does not call {name}")


def short_name(name: str) -> str:
    """``malloc`` for ``rumpuser_malloc``, ``virt_send`` for rumpcomp_virt_send."""
    return name.removeprefix("rumpuser_").removeprefix("rumpcomp_")


def full_name(name: str) -> str:
    """The inverse of `short_name`, for what people read."""
    prefix = "rumpcomp_" if name.startswith("virt_") else "rumpuser_"
    return prefix + name


def check(name: str, errno: int, doing: str, remedy: str = "") -> None:
    """Raise MiniKernelError unless ``errno``, the result of ``name``, is 0."""
    if errno:
        raise MiniKernelError(
            f"{full_name(name)} ({doing})",
            f"the hypercall failed with {errno_name(errno)}",
            remedy,
            netbsd_errno=errno,
        )


def _find(library: Library, name: str) -> int:
    """The address of the symbol ``name``, by dlsym(3); MiniKernelError if none."""
    if library is None:
        library = ctypes.CDLL(None)
    elif not isinstance(library, ctypes.CDLL) and library.handle is not None:
        library = library.handle
    try:
        if isinstance(library, ctypes.CDLL):
            return ctypes.cast(library[name], ctypes.c_void_p).value or 0
        return library.symbol(name)
    except AttributeError as error:
        raise MiniKernelError(
            name,
            "nobody exports this hypercall",
            "start a Hypervisor first, or give it to MiniKernel",
        ) from error
