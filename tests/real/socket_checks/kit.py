"""What the checks of sockets are made with."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from rumphyper.kernel.netaddr import AF_ROUTE
from rumphyper.kernel.rtsock import CTL_NET, NET_RT_IFLIST, IfInfo, parse_messages
from rumphyper.kernel.transport import SIZES

LOOPBACK = "127.0.0.1"
Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def loopback_index(kernel: Any) -> int:
    """The index of lo0, from the kernel's list of interfaces (NET_RT_IFLIST)."""
    name = (ctypes.c_int * 6)(CTL_NET, AF_ROUTE, 0, 0, NET_RT_IFLIST, 0)
    room = ctypes.create_string_buffer(65536)
    size = ctypes.c_size_t(len(room))
    kernel.calls.do(
        *("__sysctl", name, len(name), room, ctypes.byref(size), None, SIZES[0])
    )
    (index,) = (
        message.index
        for message in parse_messages(room.raw[: size.value])
        if isinstance(message, IfInfo) and b"lo0" in message.addresses["ifp"]
    )
    return index


@contextlib.contextmanager
def silent_port(kernel: Any) -> Iterator[tuple[str, int]]:
    """A TCP address that never answers: NetBSD drops a SYN for a socket that is
    bound and does not listen."""
    with kernel.socket() as hold:
        hold.bind((LOOPBACK, 0))
        yield hold.getsockname()
