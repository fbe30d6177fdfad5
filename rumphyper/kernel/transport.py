"""The narrow way from sockets and files to a kernel's system calls.

Everything in this room that makes system calls goes through a `Transport`: the
local one calls librump's functions in this process, a remote one carries the
same calls over the syscall proxy. Arguments are what ctypes passes in C: int
for C's int, bytes or a ctypes object for memory, `SIZES[n]` for size_t, None
for NULL. Memory is that of this process; a remote transport copies in and out.

A thread inside the kernel sees neither a signal nor the kernel's end, so every
wait in there is cut into slices of `SLICE` seconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

from rumphyper.kernel.constants import failure
from rumphyper.kernel.interrupt import SLICE

__all__ = ["SIZES", "SLICE", "Call", "Calls", "Transport"]

_INT_MIN, _INT_MAX = -(1 << 31), (1 << 31) - 1

Call = Callable[..., int]
"""One system call: its result, or minus NetBSD's errno."""


class Transport(Protocol):
    """Makes system calls in one process of one rump kernel."""

    def bind(self, name: str) -> Call:
        """The call ``name`` as of rump_sys_NAME, callable from any thread.

        A call that was cut short (ERESTART) returns minus EINTR. Raises
        KernelError when the kernel has no such call; the call itself raises
        KernelClosedError once the kernel is closed.
        """


class Calls:
    """The calls of one transport, each bound when it is first used.

    ``calls.sendto(fd, data, SIZES[n], 0, None, 0)`` returns the bare result;
    ``calls.do("listen", fd, 5)`` raises OSError for a negative one.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __getattr__(self, name: str) -> Call:
        if name.endswith("__"):  # a protocol of Python's, and not __getcwd
            raise AttributeError(name)
        call = self.transport.bind(name)
        setattr(self, name, call)
        return call

    def do(self, name: str, *args: Any) -> int:
        """Make a call; raise the OSError of its errno when it fails.

        Integers that C's int does not hold raise OverflowError: ctypes would
        cut them off without a word.
        """
        for value in args:
            if type(value) is int and not _INT_MIN <= value <= _INT_MAX:
                raise OverflowError("Python int too large to convert to C int")
        result: int = getattr(self, name)(*args)
        if result < 0:
            raise failure(-result)
        return result


class _Sizes(dict[int, ctypes.c_size_t]):
    """size_t objects by value: cheaper to find than to make, and never to change."""

    def __missing__(self, value: int) -> ctypes.c_size_t:
        size = ctypes.c_size_t(value)
        if len(self) < 4096:
            self[value] = size
        return size


SIZES = _Sizes()
