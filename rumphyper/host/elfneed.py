"""A shared library that holds nothing but the names of others.

Opening it loads all of them in one go, which three things need that opening
them one by one cannot give:

* libraries that use each other's symbols without saying so (no DT_NEEDED)
  load in any order, even in a circle: the loader maps all, then relocates;
* where two define the same symbol, the earlier in the list wins. The loader of
  glibc does not care which of the two is weak (ld.so(8), LD_DYNAMIC_WEAK), so
  a stub that was meant to be overridden has to come later;
* when one fails, none stays behind.

It contains no code and fits every architecture: the header's fields are taken
from a library that is known to load. Source: System V ABI, chapters 4 and 5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rumphyper.host.elfread import (
    DT_HASH,
    DT_NEEDED,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    ET_DYN,
    PT_DYNAMIC,
    PT_LOAD,
    ElfFile,
)

DT_SYMENT = 11
PF_R, PF_W = 4, 2
PAGE = 0x10000
"""Alignment of the segment: the largest page size of the known architectures."""


def needing(like: ElfFile, soname: str, needed: Sequence[str]) -> bytes:
    """Return the file: a library called ``soname`` that needs all of ``needed``.

    Names with a slash are paths, others are looked for by the loader. ``like``
    is a library of the same architecture.
    """
    wide = like.bits == 64
    order = "<" if like.little_endian else ">"
    text, offsets = b"\0", []
    for name in (soname, *needed):
        offsets.append(len(text))
        text += name.encode() + b"\0"
    header_size, segment_size = (64, 56) if wide else (52, 32)
    symbol_size = 24 if wide else 16

    # The order in the file: headers, symbols (the null one), hash, dynamic, text.
    symbols = header_size + 2 * segment_size
    symbols += -symbols % 8
    hashes = symbols + symbol_size
    hash_table = struct.pack(order + "4I", 1, 1, 0, 0)  # one empty bucket, one chain
    dynamic = hashes + len(hash_table)
    dynamic += -dynamic % 8
    entries = [(DT_SONAME, offsets[0])]
    entries += [(DT_NEEDED, offset) for offset in offsets[1:]]
    size = (len(entries) + 6) * (16 if wide else 8)
    strings = dynamic + size
    entries += [
        (DT_HASH, hashes),
        (DT_SYMTAB, symbols),
        (DT_SYMENT, symbol_size),
        (DT_STRTAB, strings),
        (DT_STRSZ, len(text)),
        (0, 0),
    ]
    total = strings + len(text)

    image = bytearray(total)
    struct.pack_into(
        order + ("16sHHIQQQIHHHHHH" if wide else "16sHHIIIIIHHHHHH"),
        image,
        0,
        b"\x7fELF" + bytes([like.bits // 32, 1 if like.little_endian else 2, 1]),
        ET_DYN,
        like.machine,
        1,
        0,
        header_size,
        0,
        like.flags,  # mips, arm and riscv say their calling convention here
        header_size,
        segment_size,
        2,
        0,
        0,
        0,
    )
    for index, (kind, start, length, align) in enumerate(
        ((PT_LOAD, 0, total, PAGE), (PT_DYNAMIC, dynamic, size, 8))
    ):
        # The loader of glibc writes into the dynamic section: writable.
        flags = PF_R | PF_W
        place = header_size + index * segment_size
        if wide:
            fields = (kind, flags, start, start, start, length, length, align)
            struct.pack_into(order + "IIQQQQQQ", image, place, *fields)
        else:
            fields = (kind, start, start, start, length, length, flags, align)
            struct.pack_into(order + "IIIIIIII", image, place, *fields)
    image[hashes : hashes + len(hash_table)] = hash_table
    for index, (tag, value) in enumerate(entries):
        form, step = ("qQ", 16) if wide else ("iI", 8)
        struct.pack_into(order + form, image, dynamic + index * step, tag, value)
    image[strings:] = text
    return bytes(image)
