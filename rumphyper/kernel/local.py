"""The transport of a kernel in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rumphyper.kernel.interrupt import NUMBERS, get_handler
from rumphyper.kernel.safepoll import SafePoll
from rumphyper.kernel.syscalls import failed, result_type, symbol
from rumphyper.kernel.transport import Call

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel


class LocalTransport:
    """System calls by librump's own functions; see transport.Transport."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def bind(self, name: str) -> Call:
        """The call ``name``; pollts without its dangers, see safepoll.py."""
        return SafePoll(self._bind) if name == "pollts" else self._bind(name)

    def _bind(self, name: str) -> Call:
        """A call as it is; what `Kernel.invoke` does, in one Python frame."""
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
                return failed() if result == -1 else result
            guard.depth += 1
            try:
                if tuple(map(get_handler, NUMBERS)) != guard.seen:
                    guard.adopt()
                result = function(*arguments)
                return failed() if result == -1 else result
            finally:
                guard.depth -= 1
                if guard.pending and not guard.depth:
                    guard.deliver()

        return call
