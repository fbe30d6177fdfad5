"""A writer of ELF64 shared objects: code, data and the symbols they export.

Facts from elf(5) and the System V ABI (chapters "Object Files" and "Dynamic
Linking"). Three loaded segments: tables read-only, text read and execute, data
read and write. There are no relocations, so the code must not depend on where
it is loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs

from rumphyper.errors import HostError
from rumphyper.host import elfhash

EM_X86_64 = 62
EM_AARCH64 = 183

_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_X, _W, _R = 1, 2, 4
_PROGBITS, _STRTAB, _HASH, _DYNAMIC, _DYNSYM, _GNU_HASH = 1, 3, 5, 6, 11, 0x6FFFFFF6
_WRITE, _ALLOC, _EXEC = 1, 2, 4
_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT = 0, 4, 5, 6, 10, 11
_DT_SONAME, _DT_GNU_HASH = 14, 0x6FFFFEF5
_STB_GLOBAL, _STT_OBJECT, _STT_FUNC = 1, 1, 2
_ET_DYN = 3

_EHDR = struct.Struct("<16s2HI3QI6H")
_PHDR = struct.Struct("<2I6Q")
_SHDR = struct.Struct("<2I4Q2I2Q")
_SYM = struct.Struct("<I2BH2Q")
_DYN = struct.Struct("<2Q")
_SEGMENTS = 5
_DYNAMIC_ENTRIES = 8
_CACHE_LINE = 64


@attrs.frozen
class Symbol:
    """An exported name: ``size`` octets at ``offset`` of the text or the data.

    A symbol of the text is a function, one of the data an object.
    """

    name: str
    offset: int
    size: int
    in_text: bool = True


@attrs.define(eq=False)
class _Section:
    """A section, laid at ``offset`` of the file and ``offset + shift`` in memory."""

    name: str
    kind: int
    flags: int
    size: int
    align: int = 8
    link: int = 0
    info: int = 0
    entry: int = 0
    offset: int = 0
    shift: int = 0

    @property
    def address(self) -> int:
        return self.offset + self.shift if self.flags & _ALLOC else 0

    @property
    def end(self) -> int:
        return self.offset + self.size

    def pack(self, name: int) -> bytes:
        """The section's header; ``name`` is its place in .shstrtab."""
        place = (self.address, self.offset, self.size)
        rest = (self.link, self.info, self.align, self.entry)
        return _SHDR.pack(name, self.kind, self.flags, *place, *rest)


def _up(value: int, align: int) -> int:
    return -(-value // align) * align


class _Strings:
    """A string table: offset 0 is the empty text."""

    def __init__(self) -> None:
        self.octets = bytearray(1)

    def add(self, text: str) -> int:
        offset = len(self.octets)
        self.octets += text.encode() + b"\0"
        return offset


def check_name(name: str) -> str:
    """Return a symbol's name or soname; raise HostError when ELF cannot hold it."""
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        cause = "not a name that a symbol table can hold"
        raise HostError(f"symbol {name!r}", cause, "use printable ASCII, no spaces")
    return name


class SharedObject:
    """The layout of one shared object, then its octets.

    Text and data refer to each other by distance, so the addresses must be known
    before the text is: give the sizes first, read `text_address` and
    `data_address`, and hand both parts to `write`. Addresses are relative to
    where the object is loaded; both parts start at a cache line. ``page`` is the
    largest page size of the machine's kernels.

    Raises HostError for a name that is unfit or used twice.
    """

    def __init__(
        self,
        soname: str,
        machine: int,
        symbols: Sequence[Symbol],
        text_size: int,
        data_size: int,
        page: int = 0x10000,
    ) -> None:
        seen: set[str] = set()
        for symbol in symbols:
            if check_name(symbol.name) in seen:
                remedy = "give every symbol its own name"
                thing = f"symbol {symbol.name!r}"
                raise HostError(thing, "it is exported twice", remedy)
            seen.add(symbol.name)
        self.soname = check_name(soname)
        self.machine = machine
        self._page = page
        self._symbols = elfhash.order(symbols, lambda symbol: symbol.name)
        names = [symbol.name for symbol in self._symbols]
        self._hash = elfhash.sysv_table(names)
        self._gnu = elfhash.gnu_table(names)
        self._strings = _Strings()
        self._places = [self._strings.add(name) for name in names]
        self._soname_place = self._strings.add(soname)
        self._lay_out(text_size, data_size)

    def _lay_out(self, text_size: int, data_size: int) -> None:
        symbols = _SYM.size * (len(self._symbols) + 1)
        strings = len(self._strings.octets)
        dynamic = _DYN.size * _DYNAMIC_ENTRIES
        line, write = _CACHE_LINE, _ALLOC | _WRITE
        # .hash and .gnu.hash speak of .dynsym (3), which with .dynamic speaks of
        # .dynstr (4); .dynsym's info is its first global symbol.
        self._sections = [
            _Section(".hash", _HASH, _ALLOC, len(self._hash), link=3, entry=4),
            _Section(".gnu.hash", _GNU_HASH, _ALLOC, len(self._gnu), link=3),
            _Section(".dynsym", _DYNSYM, _ALLOC, symbols, 8, 4, 1, _SYM.size),
            _Section(".dynstr", _STRTAB, _ALLOC, strings, align=1),
            _Section(".text", _PROGBITS, _ALLOC | _EXEC, text_size, line),
            _Section(".dynamic", _DYNAMIC, write, dynamic, line, 4, 0, _DYN.size),
            _Section(".data", _PROGBITS, write, data_size, line),
        ]
        at = _EHDR.size + _SEGMENTS * _PHDR.size
        for section in self._sections:
            section.offset = _up(at, section.align)
            at = section.end
            # mmap(2) wants the same place within the page in file and memory;
            # segments of different rights must not share a page in memory.
            if section.flags & _EXEC:
                section.shift = self._page
            elif section.flags & _WRITE:
                section.shift = 2 * self._page

    def _section(self, name: str) -> _Section:
        return next(section for section in self._sections if section.name == name)

    @property
    def text_address(self) -> int:
        """Where the text starts in memory."""
        return self._section(".text").address

    @property
    def data_address(self) -> int:
        """Where the data starts in memory."""
        return self._section(".data").address

    def write(self, text: bytes, data: bytes) -> bytes:
        """The whole file. Raises HostError when a part is not as long as said."""
        sizes = (self._section(".text").size, self._section(".data").size)
        if (len(text), len(data)) != sizes:
            cause = f"text {len(text)}, data {len(data)} octets, not {sizes}"
            raise HostError(self.soname, cause, "pass the sizes that were announced")
        labels = _Strings()
        places = [labels.add(section.name) for section in self._sections]
        places.append(labels.add(".shstrtab"))
        names = _Section(".shstrtab", _STRTAB, 0, len(labels.octets), align=1)
        names.offset = self._sections[-1].end
        sections = [*self._sections, names]
        table = _up(names.end, 8)
        out = bytearray(table + _SHDR.size)
        out[: _EHDR.size] = self._header(table, len(sections) + 1)
        segments = self._segments()
        out[_EHDR.size : _EHDR.size + len(segments)] = segments
        contents = (self._hash, self._gnu, self._dynsym(), self._strings.octets)
        parts = (*contents, text, self._dynamic(), data, labels.octets)
        for section, part in zip(sections, parts, strict=True):
            out[section.offset : section.end] = part
        for place, section in zip(places, sections, strict=True):
            out += section.pack(place)
        return bytes(out)

    def _header(self, sections_at: int, count: int) -> bytes:
        ident = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
        places = (0, _EHDR.size, sections_at)
        sizes = (_EHDR.size, _PHDR.size, _SEGMENTS, _SHDR.size, count, count - 1)
        return _EHDR.pack(ident, _ET_DYN, self.machine, 1, *places, 0, *sizes)

    def _segments(self) -> bytes:
        strings, text = self._section(".dynstr"), self._section(".text")
        dynamic, data = self._section(".dynamic"), self._section(".data")
        page = self._page
        spans = [
            (_PT_LOAD, _R, 0, 0, strings.end, page),
            (_PT_LOAD, _R | _X, text.offset, text.address, text.size, page),
            (
                _PT_LOAD,
                _R | _W,
                dynamic.offset,
                dynamic.address,
                data.end - dynamic.offset,
                page,
            ),
            (_PT_DYNAMIC, _R | _W, dynamic.offset, dynamic.address, dynamic.size, 8),
            (_PT_GNU_STACK, _R | _W, 0, 0, 0, 16),  # no X: the stack stays data
        ]
        return b"".join(
            _PHDR.pack(kind, rights, offset, at, at, size, size, align)
            for kind, rights, offset, at, size, align in spans
        )

    def _dynsym(self) -> bytes:
        out = bytearray(_SYM.size)
        for place, symbol in zip(self._places, self._symbols, strict=True):
            kind = _STT_FUNC if symbol.in_text else _STT_OBJECT
            base = self.text_address if symbol.in_text else self.data_address
            number = 5 if symbol.in_text else 7  # of .text and .data
            info = _STB_GLOBAL << 4 | kind
            at = base + symbol.offset
            out += _SYM.pack(place, info, 0, number, at, symbol.size)
        return bytes(out)

    def _dynamic(self) -> bytes:
        entries = (
            (_DT_SONAME, self._soname_place),
            (_DT_HASH, self._section(".hash").address),
            (_DT_GNU_HASH, self._section(".gnu.hash").address),
            (_DT_STRTAB, self._section(".dynstr").address),
            (_DT_SYMTAB, self._section(".dynsym").address),
            (_DT_STRSZ, len(self._strings.octets)),
            (_DT_SYMENT, _SYM.size),
            (_DT_NULL, 0),
        )
        return b"".join(_DYN.pack(*entry) for entry in entries)
