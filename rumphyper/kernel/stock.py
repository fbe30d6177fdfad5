"""The stock librumpuser: opened so that its functions can be lent to slots."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from rumphyper.errors import LibraryError
from rumphyper.host.libc import libc

LOCAL = ctypes.RTLD_LOCAL | int(getattr(os, "RTLD_DEEPBIND", 0))
"""The library calls itself by its own symbols (rumpuser_curlwp for each mutex):
these shall be its own functions, not the thunks that are global already."""


def function_address(name: str, library: ctypes.CDLL | None = None) -> int:
    """The address of a function of ``library`` (default: libc)."""
    function = getattr(library or libc(), name)
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def open_stock(path: str, mode: int = LOCAL) -> ctypes.CDLL:
    """The stock librumpuser; by default its symbols stay its own.

    Raises LibraryError with what the loader said.
    """
    try:
        return ctypes.CDLL(path, mode)
    except OSError as error:
        raise LibraryError(
            path, str(error), f"install {os.path.basename(path)} again"
        ) from None


def initializer(stock: ctypes.CDLL) -> Callable[[int, int], int]:
    """The stock library's own rumpuser_init; it aborts on another version."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    function: Callable[[int, int], int] = prototype(("rumpuser_init", stock))
    return function
