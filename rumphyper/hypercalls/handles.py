"""Opaque handles for the kernel, which are never addresses of anything.

A handle is a number that only this table understands. So a handle of another
kind, a stale or an invented one is found out instead of being followed.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TypeVar

from rumphyper.hypercalls.report import HypercallError

T = TypeVar("T")

_STEP = 16
_KINDS = itertools.count(1)
_KIND_SHIFT = 8 * ctypes.sizeof(ctypes.c_void_p) - 24


class Handles(dict[int, T]):
    """Objects by handle; an unknown handle raises HypercallError (EINVAL).

    ``what`` names the kind of object. Numbers are not used again, so that what
    has been destroyed stays unknown.
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self._numbers = itertools.count((next(_KINDS) << _KIND_SHIFT) + _STEP, _STEP)

    def add(self, item: T) -> int:
        """Keep ``item``; returns its handle, never 0."""
        handle = next(self._numbers)
        self[handle] = item
        return handle

    def take(self, handle: int) -> T:
        """Forget a handle; returns its object."""
        item = self.pop(handle, None)
        return self.__missing__(handle) if item is None else item

    def __missing__(self, handle: int) -> T:
        raise HypercallError(
            f"{self.what} {handle:#x}",
            "not one of ours, or destroyed",
            "a bug of the kernel",
        )
