"""The file in which DPDK takes a program for a port: a relocatable ELF object.

DPDK lib/bpf/bpf_load_elf.c: little-endian, ET_REL, no machine or EM_BPF, the code
in a section of its own that is allocated and executable.
"""

from __future__ import annotations

import struct

SECTION = "rumphyper"

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_REL, _BPF = 1, 247
_PROGBITS, _STRTAB = 1, 3
_ALLOC, _EXECINSTR = 2, 4


def elf_object(code: bytes) -> bytes:
    """An object whose section `SECTION` holds the instructions."""
    names = b"\0" + SECTION.encode() + b"\0.shstrtab\0"
    at_code = _HEADER.size
    at_names = at_code + len(code)
    at_table = -(-(at_names + len(names)) // 8) * 8
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = _HEADER.pack(
        ident, _REL, _BPF, 1, 0, 0, at_table, 0, _HEADER.size, 0, 0, _SECTION.size, 3, 2
    )
    place = names.index(b".shstrtab")
    table = [
        bytes(_SECTION.size),
        _SECTION.pack(
            1, _PROGBITS, _ALLOC | _EXECINSTR, 0, at_code, len(code), 0, 0, 8, 0
        ),
        _SECTION.pack(place, _STRTAB, 0, 0, at_names, len(names), 0, 0, 1, 0),
    ]
    body = header + code + names
    return body.ljust(at_table, b"\0") + b"".join(table)
