"""What loaded libraries hold for the kernel: modules, components, symbols.

Facts: NetBSD lib/librumpuser/rumpuser_dl.c; the upcalls' types: sys/rump/include/
rump/rumpuser.h; what becomes of the symbols: sys/kern/kern_ksyms.c.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from rumphyper.host import linkmap
from rumphyper.host.linkmap import Loaded
from rumphyper.hypercalls.family import Family

LIBRARIES = b"librump"
"""In the path of every library whose symbols are the kernel's."""

NAMESPACES = frozenset((b"rump", b"RUMP"))
UNDERSCORES = b"__"
"""How the names of the kernel's symbols begin."""

MODULES, COMPONENTS = b"link_set_modules", b"link_set_rump_components"
START, STOP = b"__start_", b"__stop_"

_pointer, _size = ctypes.c_void_p, ctypes.c_uint64
MODINIT = ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t)
SYMLOAD = ctypes.CFUNCTYPE(ctypes.c_int, _pointer, _size, _pointer, _size)
COMPLOAD = ctypes.CFUNCTYPE(None, ctypes.c_size_t)

_forever: list[object] = []
"""Symbol tables that a kernel works with, and in, to the end of the process."""


class Dl(Family):
    """Finds what the libraries bring, the last one that was loaded first.

    ``symbols`` also gives the kernel its own symbol table, as the stock library
    does. That is what kernel modules are linked with and what /dev/ksyms shows;
    without it booting takes less time (docs/hypercalls.md says how much).
    """

    family = "dl"

    def __init__(self, symbols: bool = True) -> None:
        self.symbols = symbols

    def dl_bootstrap(self, domodinit: int, symload: int, compload: int) -> None:
        """Hand over the symbol table, then modules and components.

        An array that several libraries lead to is handed over once; the kernel
        refuses repetitions.
        """
        libraries = linkmap.loaded()[::-1]
        if self.symbols and symload:
            kernels = (
                lib for lib in libraries if not lib.name or LIBRARIES in lib.name
            )
            table, strings = symbol_table(kernels)
            given = [ctypes.create_string_buffer(octets) for octets in (table, strings)]
            if SYMLOAD(symload)(given[0], len(table), given[1], len(strings)) == 0:
                _forever.extend(given)
        wanted = {MODULES: domodinit, COMPONENTS: compload}
        seen: set[int] = set()
        for library in libraries:
            with linkmap.scope(library) as handle:
                for name, upcall in wanted.items():
                    start, count = _link_set(handle, name)
                    if upcall and count and start not in seen:
                        seen.add(start)
                        _hand_over(name, upcall, start, count)


def _hand_over(name: bytes, upcall: int, start: int, count: int) -> None:
    """Modules are given all at once, components one by one."""
    if name == MODULES:
        MODINIT(upcall)(start, count)
        return
    for component in (ctypes.c_size_t * count).from_address(start):
        COMPLOAD(upcall)(component)


def symbol_table(libraries: Iterable[Loaded]) -> tuple[bytes, bytes]:
    """The kernel's symbols in ``libraries``: one table, and one of strings.

    The symbols have the addresses that they have in this process. The strings
    are the libraries' whole tables, one behind the other: cheaper than picking
    out names.
    """
    chosen, parts, offset = [], [], 0
    pack = struct.Struct(linkmap.SYMBOL).pack
    for library in libraries:
        tables = linkmap.tables(library)
        strings, base = tables.strings, library.base
        rows = struct.iter_unpack(linkmap.SYMBOL, tables.symbols)
        for name, info, other, section, value, size in rows:
            if not section or not value:  # undefined here
                continue
            head = strings[name : name + 4]
            if head in NAMESPACES or head[:2] == UNDERSCORES:
                chosen.append(
                    pack(name + offset, info, other, section, value + base, size)
                )
        parts.append(strings)
        offset += len(strings)
    return b"".join(chosen), b"".join(parts)


def _link_set(handle: int, name: bytes) -> tuple[int, int]:
    """Address and length of an array of pointers that the linker collected.

    (0, 0) for a library without it, and where its ends are hidden symbols: such
    libraries announce themselves from constructors.
    """
    start = linkmap.symbol_address(handle, START + name) if handle else 0
    stop = linkmap.symbol_address(handle, STOP + name) if start else 0
    count = max(0, stop - start) // ctypes.sizeof(_pointer)
    return start, count
