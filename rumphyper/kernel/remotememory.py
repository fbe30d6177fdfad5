"""The memory that a call lends to the kernel of another process.

A server of the syscall proxy reads and writes the client's memory by address.
It gets what the calls in flight have lent and nothing else: every argument that
is a pointer is turned into ranges of addresses, and `Ranges` answers what they
cover. The sizes come from the call (`Lender`'s methods), or from ctypes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, NamedTuple

from rumphyper.kernel.message import Iovec, Msghdr

_IOV_MAX = 1024  # sys/sys/syslimits.h
_DEPTH = 8  # of structures that point to structures

_ByRef: Any = type(ctypes.byref(ctypes.c_int()))
_Data: Any = ctypes.c_int.__mro__[2]  # _ctypes._CData
_Pointer: Any = ctypes.POINTER(ctypes.c_int).__mro__[1]  # _ctypes._Pointer
_POINTERS = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p, _Pointer)


class Range(NamedTuple):
    """Memory of this process from ``start`` up to, but without, ``end``."""

    start: int
    end: int
    writable: bool
    owner: Any = None
    """Keeps the memory alive; None where only its lender can."""


def find(
    ranges: Iterable[Range], start: int, size: int, writing: bool = False
) -> Range | None:
    """The range that holds ``size`` octets from ``start`` on, if there is one."""
    for one in ranges:
        if one.start <= start and start + size <= one.end:
            if writing and not one.writable:
                continue
            return one
    return None


def address(pointer: Any) -> int:
    """Where a pointer points to: what ctypes would pass. 0 for None.

    Raises TypeError for what is no pointer.
    """
    if pointer is None:
        return 0
    if type(pointer) is bytes:
        return ctypes.c_void_p.from_buffer(ctypes.c_char_p(pointer)).value or 0
    if isinstance(pointer, ctypes.Array):
        return ctypes.addressof(pointer)
    if isinstance(pointer, int):
        return pointer & (1 << 64) - 1
    if type(pointer) is _ByRef or isinstance(pointer, _POINTERS):
        return ctypes.cast(pointer, ctypes.c_void_p).value or 0
    raise TypeError(f"{type(pointer).__name__!r} object is no pointer")


def lend(ranges: list[Range], pointer: Any, size: int, writable: bool) -> int:
    """Lend ``size`` octets; the address. What an int points to is not lent."""
    start = address(pointer)
    if type(pointer) is bytes:
        size, writable = min(size, len(pointer) + 1), False
    if start and size > 0 and not isinstance(pointer, int):
        owner = None if isinstance(pointer, ctypes.c_void_p) else pointer
        ranges.append(Range(start, start + size, writable, owner))
    return start


def lend_object(ranges: list[Range], pointer: Any) -> int:
    """Lend what the object itself tells of, and what it points to; the address.

    bytes are lent with the NUL behind them and to be read only. An address as
    an int or a c_void_p lends nothing.
    """
    start = address(pointer)
    if type(pointer) is bytes:
        ranges.append(Range(start, start + len(pointer) + 1, False, pointer))
    elif type(pointer) is _ByRef:
        _lend_data(ranges, pointer._obj, _DEPTH)
    elif isinstance(pointer, ctypes.Array):
        _lend_data(ranges, pointer, _DEPTH)
    elif isinstance(pointer, _POINTERS):
        _lend_kept(ranges, pointer._objects, _DEPTH)
    return start


def _lend_data(ranges: list[Range], data: Any, depth: int) -> None:
    start = ctypes.addressof(data)
    ranges.append(Range(start, start + ctypes.sizeof(data), True, data))
    if data._objects is not None:
        _lend_kept(ranges, data._objects, depth - 1)


def _lend_kept(ranges: list[Range], kept: Any, depth: int) -> None:
    """Lend what ctypes keeps alive for a pointer: that is where it points to."""
    if not depth:
        return
    if type(kept) is bytes:
        lend(ranges, kept, len(kept) + 1, False)
    elif isinstance(kept, dict):
        for one in kept.values():
            _lend_kept(ranges, one, depth - 1)
    elif isinstance(kept, tuple):
        for one in kept:
            _lend_kept(ranges, one, depth - 1)
    elif isinstance(kept, _Data):
        _lend_data(ranges, kept, depth - 1)


def lend_vector(ranges: list[Range], start: int, count: int, writable: bool) -> int:
    """Lend an array of struct iovec and its parts; octets of the parts."""
    if not start or not 0 < count <= _IOV_MAX:
        return 0
    ranges.append(Range(start, start + count * ctypes.sizeof(Iovec), False))
    total = 0
    for part in (Iovec * count).from_address(start):
        if part.base and part.size:
            ranges.append(Range(part.base, part.base + part.size, writable))
            total += part.size
    return total


def lend_message(ranges: list[Range], pointer: Any, writable: bool) -> tuple[int, int]:
    """Lend a struct msghdr and its parts; the address, and octets of the parts."""
    start = address(pointer)
    if not start:
        return 0, 0
    ranges.append(Range(start, start + ctypes.sizeof(Msghdr), writable))
    header = Msghdr.from_address(start)
    for base, size in (
        (header.name, header.name_length),
        (header.control, header.control_length),
    ):
        if base and size:
            ranges.append(Range(base, base + size, writable))
    return start, lend_vector(ranges, header.iov or 0, header.iov_length, writable)
