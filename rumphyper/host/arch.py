"""Which of Linux's application binary interfaces this interpreter runs on."""

from __future__ import annotations

import functools
import os
import struct
import sys

POINTER = struct.calcsize("P")
"""Octets of a pointer."""

_FAMILIES = (
    ("arm", "arm"),
    ("i486", "i386"),
    ("i586", "i386"),
    ("i686", "i386"),
    ("parisc", "parisc"),
    ("sparc", "sparc"),
    ("ppc", "powerpc"),
    ("powerpc", "powerpc"),
    ("mips", "mips"),
)


@functools.cache
def abi() -> str:
    """The name of the ABI, as this package's tables spell it.

    One of x86_64, i386, aarch64, arm, riscv64, riscv32, ppc64le, ppc64,
    powerpc, s390x, mips64, mips, loongarch64, sparc, alpha, parisc ...; a name
    that is not known is passed on as uname(2) gives it. A 32-bit interpreter
    on a 64-bit kernel counts as 32-bit; ``mips64`` is the n64 ABI.
    """
    return name(os.uname().machine, POINTER, sys.byteorder)


def name(machine: str, pointer: int, order: str) -> str:
    """The ABI of a ``uname -m``, the octets of a pointer and the byte order."""
    wide = pointer == 8
    if machine in ("x86_64", "amd64"):
        return "x86_64" if wide else "i386"
    if machine == "aarch64":
        return "aarch64" if wide else "arm"
    if machine.startswith(("ppc", "powerpc")) and wide:
        return "ppc64le" if order == "little" else "ppc64"
    if machine.startswith("mips") and wide:
        return "mips64"
    for start, family in _FAMILIES:
        if machine.startswith(start):
            return family
    return machine
