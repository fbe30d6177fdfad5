"""Asking the kernel about its network: ioctl, sysctl and the routing socket."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rumphyper.kernel.netaddr import AF_INET, AF_ROUTE, SOCK_DGRAM, SOCK_RAW
from rumphyper.kernel.rtsock import (
    CTL_NET,
    Message,
    parse_messages,
    route_message,
)

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

_sequence = itertools.count(1)


@contextmanager
def control_socket(
    kernel: Kernel, family: int = AF_INET, kind: int = SOCK_DGRAM
) -> Iterator[int]:
    """A socket of the kernel for as long as the block runs."""
    number = kernel.syscall("socket", family, kind, 0)
    try:
        yield number
    finally:
        kernel.syscall("close", number)


def ioctl(
    kernel: Kernel, request: int, argument: bytearray, thing: str, family: int = AF_INET
) -> bytearray:
    """Make an interface ioctl; ``argument`` is read, changed and returned.

    ``thing`` is what a KernelError names.
    """
    with kernel.guard, control_socket(kernel, family) as number:
        buffer = (ctypes.c_char * len(argument)).from_buffer(argument)
        result = kernel.invoke(kernel.ioctl, number, request, buffer)
        if result < 0:
            raise kernel.error(-result, thing)
    return argument


def sysctl(kernel: Kernel, name: tuple[int, ...], thing: str) -> bytes:
    """Read the sysctl of the numeric ``name``.

    What it tells may grow between asking for its size and asking for it: then
    once more. Raises KernelError.
    """
    names = (ctypes.c_int * len(name))(*name)
    while True:
        size = ctypes.c_size_t()
        result = kernel.invoke(
            kernel.sysctl, names, len(name), None, ctypes.byref(size), None, 0
        )
        if result < 0:
            raise kernel.error(-result, thing)
        buffer = ctypes.create_string_buffer(max(1, size.value + size.value // 8))
        size.value = len(buffer)
        result = kernel.invoke(
            kernel.sysctl, names, len(name), buffer, ctypes.byref(size), None, 0
        )
        if result >= 0:
            return buffer.raw[: size.value]
        error = kernel.error(-result, thing)
        if error.netbsd_errno != ENOMEM:
            raise error


ENOMEM = 12


def routing_table(
    kernel: Kernel, what: int, argument: int = 0, family: int = 0
) -> list[Message]:
    """The messages of NET_RT_DUMP or NET_RT_IFLIST (sysctl(7), net.route)."""
    name = (CTL_NET, AF_ROUTE, 0, family, what, argument)
    return list(parse_messages(sysctl(kernel, name, "routing table")))


def change_route(
    kernel: Kernel, kind: int, flags: int, addresses: Mapping[int, bytes], thing: str
) -> None:
    """Send a message to the routing socket; the kernel answers in the call.

    Raises KernelError.
    """
    message = route_message(kind, flags, next(_sequence), addresses)
    with kernel.guard, control_socket(kernel, AF_ROUTE, SOCK_RAW) as number:
        result = kernel.invoke(kernel.write, number, message, len(message))
        if result < 0:
            raise kernel.error(-result, thing)
