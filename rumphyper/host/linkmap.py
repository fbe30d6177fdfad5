"""What this process has loaded, and the symbols of each library, from memory.

The dynamic linker keeps a list, struct link_map, that dlinfo(3) hands out. Each
entry leads to a library's dynamic section, and that to its symbol and string
tables. They are read where they lie: the files are not opened. What the linker
has accepted is taken for sound. For hosts of 64 bits.

Facts: <link.h>, <elf.h>; System V ABI, chapter 5; glibc's elf/dl-lookup.c for
the GNU hash table. On most architectures glibc turns the offsets of a dynamic
section into addresses; musl, and the kernel's vDSO, leave them as they are.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Iterator

import attrs

from rumphyper.host.elfread import (
    DT_GNU_HASH,
    DT_HASH,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
)
from rumphyper.host.libc import libc

SYMBOL = "=IBBHQQ"
"""Elf64_Sym for `struct`: name, info, other, section, value, size."""

SYMBOL_SIZE = 24

_RTLD_DI_LINKMAP = 2
_DT_NULL = 0
_word, _number, _text = ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p


class _LinkMap(ctypes.Structure):
    """The public part of struct link_map."""

    _fields_ = [
        ("base", _word),
        ("name", _text),
        ("dynamic", _word),
        ("next", _word),
    ]


@attrs.frozen
class Loaded:
    """One library, or the program itself."""

    name: bytes
    """The path by which it was loaded; empty for the program."""

    base: int
    """What is added to the addresses in its file (l_addr)."""

    dynamic: int
    """The address of its dynamic section (l_ld)."""


@attrs.frozen
class Tables:
    """The dynamic symbols of a library, as they lie in memory."""

    symbols: bytes = b""
    """An array of `SYMBOL`."""

    strings: bytes = b""
    """What the symbols' names are offsets into."""


@functools.cache
def _dynamic_linker() -> dict[str, Callable[..., int]]:
    """The functions of <dlfcn.h>; dlinfo is missing in static programs."""
    library = libc()
    types = {
        "dlinfo": (_number, _word, _number, ctypes.POINTER(_word)),
        "dlopen": (_word, _text, _number),
        "dlsym": (_word, _word, _text),
        "dlclose": (_number, _word),
    }
    return {
        name: ctypes.CFUNCTYPE(*kinds)((name, library))
        for name, kinds in types.items()
        if hasattr(library, name)
    }


def loaded() -> list[Loaded]:
    """What is loaded, in the linker's order: the program comes first.

    Empty where there is no dynamic linker to ask.
    """
    dlinfo = _dynamic_linker().get("dlinfo")
    entry = ctypes.c_size_t()
    if dlinfo is None or dlinfo(libc()._handle, _RTLD_DI_LINKMAP, entry):
        return []
    found, address = [], entry.value
    while address:
        link = _LinkMap.from_address(address)
        found.append(Loaded(link.name or b"", link.base, link.dynamic))
        address = link.next
    return found


@contextlib.contextmanager
def scope(library: Loaded) -> Iterator[int]:
    """A handle of ``library`` for `symbol_address`; 0 where the linker has none.

    Nothing is loaded for it: a path that held a library when it was loaded may
    hold another one by now.
    """
    if not library.name:
        yield libc()._handle
        return
    linker = _dynamic_linker()
    handle = linker["dlopen"](library.name, os.RTLD_LAZY | os.RTLD_NOLOAD)
    try:
        yield handle
    finally:
        if handle:
            linker["dlclose"](handle)


def symbol_address(handle: int, name: bytes) -> int:
    """dlsym(3): a symbol of a library or of what it needs; 0 when there is none."""
    return _dynamic_linker()["dlsym"](handle, name)


def tables(library: Loaded) -> Tables:
    """The dynamic symbols of ``library``; empty when it has none."""
    entries = _dynamic_section(library)

    def table(tag: int) -> int:
        value = entries[tag]
        return value if value >= library.base else library.base + value

    count = 0
    if DT_HASH in entries:
        count = _words(table(DT_HASH), 2)[1]
    elif DT_GNU_HASH in entries:
        count = _gnu_count(table(DT_GNU_HASH))
    if not count or not {DT_SYMTAB, DT_STRTAB, DT_STRSZ} <= entries.keys():
        return Tables()
    return Tables(
        ctypes.string_at(table(DT_SYMTAB), count * SYMBOL_SIZE),
        ctypes.string_at(table(DT_STRTAB), entries[DT_STRSZ]),
    )


def _dynamic_section(library: Loaded) -> dict[int, int]:
    """Values by tag, up to DT_NULL."""
    entries: dict[int, int] = {}
    if library.dynamic:
        pairs = ctypes.cast(library.dynamic, ctypes.POINTER(_word * 2))
        place = 0
        while (tag := pairs[place][0]) != _DT_NULL:
            entries[tag] = pairs[place][1]
            place += 1
    return entries


def _gnu_count(address: int) -> int:
    """How many symbols a GNU hash table stands for, those before it included.

    Nowhere does it say so: that is the end of the chain that begins last.
    """
    buckets, first, words, _ = _words(address, 4)
    heads = address + 16 + 8 * words
    last = max(_words(heads, buckets), default=0)
    if last < first:
        return first  # an empty table: every symbol is undefined
    chain = ctypes.cast(heads + 4 * buckets, ctypes.POINTER(ctypes.c_uint32))
    while not chain[last - first] & 1:  # the lowest bit marks the end of a chain
        last += 1
    return last + 1


def _words(address: int, count: int) -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * count).from_address(address)
