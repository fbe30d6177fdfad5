"""The transport of a kernel in this process."""

from __future__ import annotations

from ctypes import get_errno
from typing import TYPE_CHECKING, Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel.interrupt import SIGINT, get_handler
from rumphyper.kernel.syscalls import result_type, symbol
from rumphyper.kernel.transport import Call

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

_CUT_SHORT = -int(Errno.EINTR)


def _failed() -> int:
    """Minus NetBSD's errno of a call that returned -1.

    The kernel's ERESTART (-3, sys/sys/errno.h) comes through where another
    thread closed the descriptor that the call slept on.
    """
    number = get_errno()
    return -number if number > 0 else _CUT_SHORT


class LocalTransport:
    """System calls by librump's own functions; see transport.Transport."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def bind(self, name: str) -> Call:
        """The call ``name``; what `Kernel.invoke` does, in one Python frame."""
        kernel = self._kernel
        here = kernel._here
        guard = kernel.guard
        full = symbol(name)
        function = kernel.function(full, result_type(full))

        def call(*arguments: Any) -> int:
            if kernel._down:
                kernel.check_open()
            if not here.main:
                result: int = function(*arguments)
                return _failed() if result == -1 else result
            guard.depth += 1
            try:
                if get_handler(SIGINT) is not guard.handler:
                    guard.adopt()
                result = function(*arguments)
                return _failed() if result == -1 else result
            finally:
                guard.depth -= 1
                if guard.pending and not guard.depth:
                    guard.deliver()

        return call
