"""How a trace prints a value: one function per way of looking at it.

A formatter gets the value as the callback received it (an int, bytes, a ctypes
pointer) or as a recording thunk wrote it (a machine word), and a `View` that
says what may be looked at: memory only while the call is live, out-parameters
only after it has succeeded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from rumphyper.hypercalls.errno import errno_text

TEXT_LIMIT = 64
"""Octets of a string that a trace shows, as strace -s does."""

_Iovec = ctypes.c_size_t * 2

IOVEC_LIMIT = 4
"""Elements of an iovec array that a trace shows."""


@attrs.frozen
class View:
    """What a formatter may look at besides its own value."""

    values: Sequence[Any] = ()
    """All arguments of the call, for those that explain each other."""

    index: int = 0
    """Which of them is being shown."""

    live: bool = False
    """The call's memory may be read (false for records decoded afterwards)."""

    done: bool = False
    """The call has succeeded: out-parameters hold their values."""


Show = Callable[[Any, View], str]


def address_of(value: Any) -> int:
    """The address in a pointer argument, whatever ctypes made of it; NULL is 0."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    return ctypes.cast(value, ctypes.c_void_p).value or 0


def integer(value: Any, view: View) -> str:
    """A plain number."""
    return str(value)


def address(value: Any, view: View) -> str:
    """A pointer that is not followed."""
    number = address_of(value)
    return hex(number) if number else "NULL"


def text(value: Any, view: View) -> str:
    """A C string, quoted and cut as strace does."""
    if isinstance(value, bytes):
        return quoted(value)
    number = address_of(value)
    if not number or not view.live:
        return address(number, view)
    return quoted(ctypes.string_at(number))


def quoted(data: bytes) -> str:
    """Octets as a C string literal, cut at TEXT_LIMIT."""
    shown = data[:TEXT_LIMIT].decode("latin-1")
    body = "".join(_ESCAPES.get(c, c if " " <= c <= "~" else _hex(c)) for c in shown)
    return f'"{body}"' + ("..." if len(data) > TEXT_LIMIT else "")


_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _hex(character: str) -> str:
    return f"\\x{ord(character):02x}"


def out(target: Any, show: Show = integer) -> Show:
    """A pointer through which the call returns a value of ctypes type ``target``."""

    def formatter(value: Any, view: View) -> str:
        number = address_of(value)
        if not number or not (view.live and view.done):
            return address(number, view)
        found = target.from_address(number).value
        return f"[{show(found, view)}]"

    return formatter


def names(table: Mapping[int, str]) -> Show:
    """A number that has a name: an enum."""

    def formatter(value: Any, view: View) -> str:
        return table.get(value, str(value))

    return formatter


def flags(table: Mapping[int, str], zero: str = "0", mask: int = 0) -> Show:
    """Bits by their names; those under ``mask`` are one number with a name."""

    def formatter(value: Any, view: View) -> str:
        if value == 0:
            return zero
        words = []
        rest = value
        if mask:
            words.append(table.get(value & mask, hex(value & mask)))
            rest &= ~mask
        for bit, name in table.items():
            if bit & ~mask and rest & bit == bit:
                words.append(name)
                rest &= ~bit
        if rest:
            words.append(hex(rest))
        return "|".join(words)

    return formatter


def errno(value: Any, view: View) -> str:
    """A NetBSD errno: 0 or the number with its name."""
    return errno_text(value)


def character(value: Any, view: View) -> str:
    """A character as C writes it."""
    return f"'{quoted(bytes([value & 0xFF]))[1:-1]}'" if value >= 0 else str(value)


def iovec(value: Any, view: View) -> str:
    """An array of iovecs whose length is the next argument: addresses and sizes.

    Only of a call that has succeeded: the array may be what was wrong.
    """
    number = address_of(value)
    count = view.values[view.index + 1] if len(view.values) > view.index + 1 else 0
    if not number or not (view.live and view.done):
        return address(number, view)
    parts = []
    for position in range(min(count, IOVEC_LIMIT)):
        where = number + position * ctypes.sizeof(_Iovec)
        base, length = _Iovec.from_address(where)
        parts.append(f"{{{hex(base)}, {length}}}")
    if count > IOVEC_LIMIT:
        parts.append("...")
    return f"[{', '.join(parts)}]"


def buffer_text(value: Any, view: View) -> str:
    """A buffer that the call fills with a C string."""
    number = address_of(value)
    if not number or not (view.live and view.done):
        return address(number, view)
    return quoted(ctypes.string_at(number))


def mac(value: Any, view: View) -> str:
    """Six octets: an Ethernet address."""
    number = address_of(value)
    if not number or not view.live:
        return address(number, view)
    return ctypes.string_at(number, 6).hex(":")
