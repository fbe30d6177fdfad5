"""Settings of the running kernel, by sysctl(7).

Facts: NetBSD sys/sys/sysctl.h (CTL_NET), sys/netinet/in.h (IPPROTO_TCP) and
sys/netinet/tcp_var.h (TCPCTL_*).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from rumphyper.errors import UnsupportedError

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

SETTINGS = {
    "net.inet.tcp.sendspace": (4, 2, 6, 2),
    "net.inet.tcp.recvspace": (4, 2, 6, 3),
}
"""The names that are known here, with their numbers."""

TCP_BUFFER = 192 << 10
"""Octets of a socket's buffer with which one virtual CPU moves TCP fastest."""

LEAST, MOST = 2048, 209715


def get_setting(kernel: Kernel, name: str) -> int:
    """The value of an integer setting. KernelError when the kernel has it not."""
    value = ctypes.c_int()
    size = ctypes.c_size_t(ctypes.sizeof(value))
    numbers = SETTINGS[name]
    mib = (ctypes.c_int * len(numbers))(*numbers)
    old = ctypes.byref(value), ctypes.byref(size)
    kernel.syscall("__sysctl", mib, len(numbers), *old, None, 0)
    return value.value


def set_setting(kernel: Kernel, name: str, value: int) -> None:
    """Set an integer setting. KernelError when the kernel refuses the value."""
    numbers = SETTINGS[name]
    mib = (ctypes.c_int * len(numbers))(*numbers)
    new = ctypes.c_int(value)
    size = ctypes.sizeof(new)
    kernel.syscall("__sysctl", mib, len(numbers), None, None, ctypes.byref(new), size)


def set_tcp_buffers(kernel: Kernel, octets: int = TCP_BUFFER) -> None:
    """Give TCP sockets that are made from now on buffers of ``octets``.

    Raises UnsupportedError for sizes with which no socket can be made: sb_max
    is 256 KiB, of which mbufs take their part (sys/kern/uipc_socket2.c).
    """
    if not LEAST <= octets <= MOST:
        raise UnsupportedError(
            f"TCP buffers of {octets} octets",
            f"not between {LEAST} and {MOST}",
            "choose a size in between",
        )
    set_setting(kernel, "net.inet.tcp.sendspace", octets)
    set_setting(kernel, "net.inet.tcp.recvspace", octets)
