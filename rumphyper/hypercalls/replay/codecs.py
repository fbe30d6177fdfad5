"""Hypercalls that are recorded: what they are asked and what they give.

They are those whose whole effect is their answer, and whose answer is the
host's to choose. All others are not recorded, because an answer without its
effect would be a lie: memory, threads, locks and descriptors have to exist,
sleeps have to last, output has to appear, and rumpuser_seterrno and
rumpuser_component_errtrans answer nothing that a host could answer otherwise.
"""

from __future__ import annotations

import abc
import ctypes
import os
from collections.abc import Mapping
from typing import Any

Value = str | int | bool | None
Values = Mapping[str, Value]
"""The values of one side of a call, by name, as JSON has them."""

BILLION = 10**9
_FILE_TYPES = range(5)


def number(values: Values, name: str, low: int, high: int) -> int:
    """The integer ``name``; ValueError when it is none from ``low`` to ``high``."""
    value = values.get(name)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name!r} is {value!r}, not a number from {low} to {high}")
    return value


def text(values: Values, name: str) -> str:
    """The string ``name``; ValueError when it is none, or has a NUL."""
    value = values.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{name!r} is {value!r}, not a string without NUL")
    return value


def names(values: Values, *wanted: str) -> None:
    """ValueError unless ``values`` has these names and no others."""
    if values.keys() != set(wanted):
        raise ValueError(f"it has {sorted(values)}, not {sorted(wanted)}")


class Codec(abc.ABC):
    """One hypercall; its methods get the arguments that a family gets."""

    @abc.abstractmethod
    def asked(self, *arguments: Any) -> dict[str, Value]:
        """What the kernel asks, before the call."""

    @abc.abstractmethod
    def given(self, *arguments: Any) -> dict[str, Value]:
        """What it got, after a call that did not fail."""

    @abc.abstractmethod
    def give(self, given: Values, *arguments: Any) -> None:
        """Answer with ``given``, which `check` has found good for what is asked."""

    @abc.abstractmethod
    def check(self, asked: Values, given: Values) -> None:
        """Raise ValueError unless ``given`` fits into what ``asked`` has room for."""


class GetParam(Codec):
    """rumpuser_getparam: a name and the room, a string."""

    def asked(self, name: bytes | None, buf: int, buflen: int) -> dict[str, Value]:
        return {"name": os.fsdecode(name or b""), "buflen": buflen}

    def given(self, name: bytes | None, buf: int, buflen: int) -> dict[str, Value]:
        octets = ctypes.string_at(buf, buflen).partition(b"\0")[0]
        return {"value": os.fsdecode(octets)}

    def give(self, given: Values, name: bytes | None, buf: int, buflen: int) -> None:
        octets = os.fsencode(text(given, "value")) + b"\0"
        ctypes.memmove(buf, octets, len(octets))

    def check(self, asked: Values, given: Values) -> None:
        names(given, "value")
        if len(os.fsencode(text(given, "value"))) >= number(
            asked, "buflen", 0, 1 << 40
        ):
            raise ValueError("'value' is longer than 'buflen' has room for")


class ClockGettime(Codec):
    """rumpuser_clock_gettime: which clock, a time."""

    def asked(self, clock: int, sec: Any, nsec: Any) -> dict[str, Value]:
        return {"clock": clock}

    def given(self, clock: int, sec: Any, nsec: Any) -> dict[str, Value]:
        return {"sec": sec[0], "nsec": nsec[0]}

    def give(self, given: Values, clock: int, sec: Any, nsec: Any) -> None:
        sec[0], nsec[0] = given["sec"], given["nsec"]

    def check(self, asked: Values, given: Values) -> None:
        names(given, "sec", "nsec")
        number(given, "sec", 0, (1 << 62) // BILLION)
        number(given, "nsec", 0, BILLION - 1)


class GetRandom(Codec):
    """rumpuser_getrandom: how many octets and how, the octets in hexadecimal."""

    def asked(self, buf: int, buflen: int, flags: int, retp: Any) -> dict[str, Value]:
        return {"buflen": buflen, "flags": flags}

    def given(self, buf: int, buflen: int, flags: int, retp: Any) -> dict[str, Value]:
        return {"octets": ctypes.string_at(buf, min(retp[0], buflen)).hex()}

    def give(self, given: Values, buf: int, buflen: int, flags: int, retp: Any) -> None:
        octets = bytes.fromhex(text(given, "octets"))
        ctypes.memmove(buf, octets, len(octets))
        retp[0] = len(octets)

    def check(self, asked: Values, given: Values) -> None:
        names(given, "octets")
        octets = bytes.fromhex(text(given, "octets"))
        if len(octets) > number(asked, "buflen", 0, 1 << 40):
            raise ValueError("'octets' are more than 'buflen' has room for")


class GetFileInfo(Codec):
    """rumpuser_getfileinfo: a path and what is wanted, size and kind of file."""

    def asked(self, name: bytes | None, size: Any, kind: Any) -> dict[str, Value]:
        path = os.fsdecode(name or b"")
        return {"name": path, "size": bool(size), "type": bool(kind)}

    def given(self, name: bytes | None, size: Any, kind: Any) -> dict[str, Value]:
        found = (("size", size), ("type", kind))
        return {key: pointer[0] for key, pointer in found if pointer}

    def give(self, given: Values, name: bytes | None, size: Any, kind: Any) -> None:
        for key, pointer in (("size", size), ("type", kind)):
            if pointer:
                pointer[0] = given[key]

    def check(self, asked: Values, given: Values) -> None:
        limits = {"size": (1 << 64) - 1, "type": _FILE_TYPES[-1]}
        names(given, *(key for key in limits if asked.get(key) is True))
        for key in given:
            number(given, key, 0, limits[key])


CODECS: Mapping[str, Codec] = {
    "rumpuser_getparam": GetParam(),
    "rumpuser_clock_gettime": ClockGettime(),
    "rumpuser_getrandom": GetRandom(),
    "rumpuser_getfileinfo": GetFileInfo(),
}
"""The hypercalls that are recorded and replayed."""
