"""Read what the loader would read of a shared library, without loading it.

Only the file header, the program headers and the dynamic section are looked
at (the section headers may be stripped), each table on first use. Both
classes and byte orders of ELF are understood. Everything in the file is
checked before use: a broken one raises `ElfError`, never another exception.

Source of the layouts: System V ABI, chapters 4 and 5 (gabi), and for the
GNU hash table binutils' bfd/elflink.c.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property

from rumphyper.errors import HostError, RumphyperError

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 1, 4, 5, 6, 10
DT_SONAME, DT_GNU_HASH, DT_VERSYM = 14, 0x6FFFFEF5, 0x6FFFFFF0
STB_GLOBAL, STB_WEAK = 1, 2
ET_DYN = 3
VERSIONED = 2
"""Version indices below this are "local" and "no version" (gabi, gnu.version)."""

MACHINES = {
    2: "sparc", 3: "i386", 4: "m68k", 8: "mips", 15: "parisc", 20: "powerpc",
    21: "powerpc64", 22: "s390x", 40: "arm", 42: "sh", 43: "sparc64", 50: "ia64",
    62: "x86_64", 183: "aarch64", 243: "riscv", 258: "loongarch", 0x9026: "alpha",
}  # fmt: skip
"""e_machine to the name people know (the few that NetBSD and Linux run on)."""


class ElfError(RumphyperError, ValueError):
    """Not an ELF file, or one whose tables point outside of it."""


class ElfFile:
    """One shared library on disk; the tables are read on first use.

    Raises HostError when the file cannot be opened and ElfError when it is not
    a shared object of ELF, or is damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < 52:
                    raise self._broken(f"{size} octets are too few for an ELF file")
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise HostError(
                path,
                error.strerror or str(error),
                "check the file's permissions" if error.errno == errno.EACCES else "",
                error.errno or 0,
            ) from error
        ident = self._data[:16]
        if ident[:4] != b"\x7fELF" or ident[4] not in (1, 2) or ident[5] not in (1, 2):
            raise self._broken("no ELF header")
        self.bits = 32 * ident[4]
        self.little_endian = ident[5] == 1
        self._order = "<" if self.little_endian else ">"
        self.kind, self.machine = self._unpack("HH", 16)
        (self.flags,) = self._unpack("I", 48 if self.bits == 64 else 36)

    def close(self) -> None:
        """Unmap the file; tables already read stay."""
        self._data.close()

    @property
    def architecture(self) -> str:
        """What the library runs on, such as ``x86_64 (64-bit little-endian)``."""
        name = MACHINES.get(self.machine, f"machine {self.machine}")
        order = "little" if self.little_endian else "big"
        return f"{name} ({self.bits}-bit {order}-endian)"

    @property
    def abi(self) -> tuple[int, int, bool]:
        """(machine, bits, little-endian): equal for libraries that fit together."""
        return self.machine, self.bits, self.little_endian

    @cached_property
    def soname(self) -> str:
        """DT_SONAME, or the empty string."""
        return next(iter(self._strings(DT_SONAME)), "")

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The sonames of DT_NEEDED, in the file's order."""
        return tuple(self._strings(DT_NEEDED))

    @property
    def exports(self) -> dict[str, bool]:
        """Names of the symbols defined for others; True where the symbol is weak."""
        return self._names[0]

    @property
    def imports(self) -> frozenset[str]:
        """Names of the symbols that somebody else has to define.

        Without weak ones, which may stay undefined, and without those bound to
        a symbol version: those come from the host (libc), rump libraries have
        no versions.
        """
        return self._names[1]

    @cached_property
    def _names(self) -> tuple[dict[str, bool], frozenset[str]]:
        exports, imports = {}, set()
        for name, weak, section, version in self._symbols():
            if section:
                exports[name] = weak
            elif not weak and version < VERSIONED:
                imports.add(name)
        return exports, frozenset(imports)

    def _broken(self, cause: str) -> ElfError:
        return ElfError(self.path, cause, "install the library again")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, self._data, offset)
        except (struct.error, OverflowError):
            raise self._broken(f"offset {offset:#x} is outside of the file") from None

    @cached_property
    def _segments(self) -> list[tuple[int, int, int, int]]:
        """(type, file offset, address, size in the file) of the program headers."""
        if self.bits == 64:
            (table,), (each, count) = self._unpack("Q", 32), self._unpack("HH", 54)
            form, pick = "IIQQQQ", (0, 2, 3, 5)
        else:
            (table,), (each, count) = self._unpack("I", 28), self._unpack("HH", 42)
            form, pick = "IIIIII", (0, 1, 2, 4)
        found = []
        for index in range(count):
            fields = self._unpack(form, table + index * each)
            kind, offset, address, size = (fields[place] for place in pick)
            found.append((kind, offset, address, size))
        return found

    @cached_property
    def _dynamic(self) -> list[tuple[int, int]]:
        """(tag, value) of the dynamic section, up to DT_NULL."""
        form, step = ("qQ", 16) if self.bits == 64 else ("iI", 8)
        for kind, offset, _, size in self._segments:
            if kind == PT_DYNAMIC:
                entries = []
                for place in range(offset, offset + size - step + 1, step):
                    tag, value = self._unpack(form, place)
                    if tag == 0:
                        break
                    entries.append((tag, value))
                return entries
        raise self._broken("no dynamic section: not a shared library")

    def _value(self, tag: int) -> int | None:
        return next((value for found, value in self._dynamic if found == tag), None)

    def _place(self, tag: int) -> int | None:
        """The file offset of the table whose address stands under ``tag``."""
        address = self._value(tag)
        if address is None:
            return None
        for kind, offset, start, size in self._segments:
            if kind == PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise self._broken(f"address {address:#x} is in no segment of the file")

    @cached_property
    def _text(self) -> str:
        """The dynamic string table; Latin-1 keeps offsets as they are."""
        place, size = self._place(DT_STRTAB), self._value(DT_STRSZ)
        if place is None or size is None or place + size > len(self._data):
            raise self._broken("the string table is missing or cut off")
        return self._data[place : place + size].decode("latin-1")

    def _string(self, offset: int) -> str:
        end = self._text.find("\0", offset)
        if end < 0 or offset > len(self._text):
            raise self._broken(f"string {offset:#x} has no end")
        return self._text[offset:end]

    def _strings(self, tag: int) -> Iterator[str]:
        for found, value in self._dynamic:
            if found == tag:
                yield self._string(value)

    def _symbol_count(self) -> int:
        place = self._place(DT_HASH)
        if place is not None:
            return self._unpack("II", place)[1]
        place = self._place(DT_GNU_HASH)
        if place is None:
            return 0
        buckets, first, words, _ = self._unpack("IIII", place)
        table = place + 16 + words * self.bits // 8
        if table + 4 * buckets > len(self._data):
            raise self._broken("the hash table is cut off")
        last = max(self._unpack(f"{buckets}I", table), default=0)
        if last < first:
            return first  # every symbol is undefined
        chain = table + 4 * buckets
        while not self._unpack("I", chain + 4 * (last - first))[0] & 1:
            last += 1  # the lowest bit marks the end of a chain
        return last + 1

    def _symbols(self) -> Iterator[tuple[str, bool, int, int]]:
        """(name, weak, section, version) of every global or weak symbol."""
        table, count = self._place(DT_SYMTAB), self._symbol_count()
        if table is None:
            raise self._broken("no symbol table")
        form, step = ("IBBHQQ", 24) if self.bits == 64 else ("IIIBBH", 16)
        if table + count * step > len(self._data):
            raise self._broken("the symbol table is cut off")
        place = self._place(DT_VERSYM)
        versions: Iterable[int] = itertools.repeat(0, count)
        if place is not None:
            versions = self._unpack(f"{count}H", place)
        wide = self.bits == 64
        rows = struct.iter_unpack(
            self._order + form, self._data[table : table + count * step]
        )
        for fields, version in zip(rows, versions, strict=True):
            if wide:
                name, info, _, section, _, _ = fields
            else:
                name, _, _, info, _, section = fields
            binding = info >> 4
            if name and binding in (STB_GLOBAL, STB_WEAK):
                yield self._string(name), binding == STB_WEAK, section, version & 0x7FFF


def own_abi() -> ElfFile:
    """The running Python's own file: what its libraries must agree with."""
    return ElfFile(os.path.realpath("/proc/self/exe"))
