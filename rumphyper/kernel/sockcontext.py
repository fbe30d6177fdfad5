"""What the sockets of one kernel share, and room for addresses it writes."""

from __future__ import annotations

import ctypes
from collections import deque

from rumphyper.kernel import sockaddr
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.transport import Calls


class SocketContext:
    """What the sockets of one kernel share: its calls and its left-overs.

    ``orphans`` are descriptors whose socket was collected unclosed. They are
    closed by the next call that makes a descriptor and never by the collector,
    which may run inside a hypercall where no system call may be made.
    """

    def __init__(self, calls: Calls, scope: sockaddr.Scope = sockaddr.no_scope) -> None:
        self.calls = calls
        self.scope = scope
        self.orphans: deque[int] = deque()

    def bury(self) -> None:
        """Close the descriptors that were left behind."""
        while self.orphans:
            self.calls.close(self.orphans.popleft())


class Name:
    """Room for an address that the kernel writes, with its length."""

    __slots__ = ("length", "pointer", "raw")

    def __init__(self) -> None:
        self.raw = ctypes.create_string_buffer(sockaddr.SOCKADDR_MAX)
        self.length = ctypes.c_uint(sockaddr.SOCKADDR_MAX)
        self.pointer = ctypes.byref(self.length)

    def value(self) -> Address:
        """The address in Python's form."""
        count = min(self.length.value, sockaddr.SOCKADDR_MAX)
        return sockaddr.unpack(self.raw.raw[:count])
