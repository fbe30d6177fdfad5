"""The C types of the hypercalls: spelling, ctypes type, how a trace prints them.

One `CType` per meaning, not per spelling: a clock and a file descriptor are
both ``int`` to C, but a trace names the clock. Enums and flags: NetBSD
sys/rump/include/rump/rumpuser.h.
"""

from __future__ import annotations

import ctypes
from typing import Any

import attrs

from rumphyper.hypercalls import show
from rumphyper.hypercalls.show import Show


@attrs.frozen
class CType:
    """A C type as a parameter or result of a hypercall."""

    spelling: str
    """As C writes it without a name: ``int``, ``void **``, ``void (*)(int)``."""

    ctype: Any
    """The ctypes type for somebody who calls the hypercall; None for void."""

    show: Show = show.integer
    """Formats a value for the trace."""

    incoming: Any = None
    """The ctypes type in a Python callback where it differs from ``ctype``.

    Pointers by value arrive as plain integers (NULL is 0), which costs less
    than c_void_p and needs no care for None.
    """

    @property
    def pointer(self) -> bool:
        """Whether values of it are addresses."""
        return "*" in self.spelling or self.spelling.endswith("_fn")

    def declare(self, name: str) -> str:
        """The C declaration of a parameter ``name``."""
        if "(*)" in self.spelling:
            return self.spelling.replace("(*)", f"(*{name})", 1)
        return f"{self.spelling}{'' if self.spelling.endswith('*') else ' '}{name}"

    def callback_type(self) -> Any:
        """The ctypes type with which a Python callback gets it."""
        return self.ctype if self.incoming is None else self.incoming

    def from_word(self, word: int) -> Any:
        """The value in a 64-bit register ``word``; a pointer stays its address."""
        if self.ctype is None:
            return None
        return word if self.pointer else self.ctype(word).value


def _pointer(spelling: str, show_as: Show = show.address) -> CType:
    return CType(spelling, ctypes.c_void_p, show_as, incoming=ctypes.c_size_t)


def _out(spelling: str, target: Any, show_as: Show = show.integer) -> CType:
    return CType(spelling, ctypes.POINTER(target), show.out(target, show_as))


def _int(show_as: Show) -> CType:
    return CType("int", ctypes.c_int, show_as)


def _prefixed(prefix: str, *words: str) -> dict[int, str]:
    return {number: prefix + word for number, word in enumerate(words)}


def _bits(prefix: str, **words: int) -> dict[int, str]:
    return {bit: prefix + word for word, bit in words.items()}


VOID = CType("void", None)
INT = CType("int", ctypes.c_int)
UNSIGNED = CType("unsigned", ctypes.c_uint)
LONG = CType("long", ctypes.c_long)
UNSIGNED_LONG = CType("unsigned long", ctypes.c_ulong, show.address)
SIZE = CType("size_t", ctypes.c_size_t)
INT64 = CType("int64_t", ctypes.c_int64)
UINT64 = CType("uint64_t", ctypes.c_uint64)
ERRNO = _int(show.errno)
ERRNO_VALUE = attrs.evolve(ERRNO)
"""An errno that is the answer, not a failure."""
CHARACTER = _int(show.character)

STRING = CType("const char *", ctypes.c_char_p, show.text)
POINTER = _pointer("void *")
CONST_POINTER = _pointer("const void *")
LWP = _pointer("struct lwp *")
MUTEX = _pointer("struct rumpuser_mtx *")
RWLOCK = _pointer("struct rumpuser_rw *")
CONDVAR = _pointer("struct rumpuser_cv *")
IOVEC = _pointer("struct rumpuser_iovec *", show.iovec)
CONST_IOVEC = _pointer("const struct rumpuser_iovec *", show.iovec)
STRING_BUFFER = _pointer("void *", show.buffer_text)
HYPERUP = _pointer("const struct rumpuser_hyperup *")

OUT_INT = _out("int *", ctypes.c_int)
OUT_LONG = _out("long *", ctypes.c_long)
OUT_SIZE = _out("size_t *", ctypes.c_size_t)
OUT_INT64 = _out("int64_t *", ctypes.c_int64)
OUT_UINT64 = _out("uint64_t *", ctypes.c_uint64)
OUT_UNSIGNED = _out("unsigned int *", ctypes.c_uint, show.address)
OUT_UNSIGNED_LONG = _out("unsigned long *", ctypes.c_ulong, show.address)
OUT_POINTER = _out("void **", ctypes.c_void_p, show.address)
OUT_LWP = _out("struct lwp **", ctypes.c_void_p, show.address)
OUT_MUTEX = _out("struct rumpuser_mtx **", ctypes.c_void_p, show.address)
OUT_RWLOCK = _out("struct rumpuser_rw **", ctypes.c_void_p, show.address)
OUT_CONDVAR = _out("struct rumpuser_cv **", ctypes.c_void_p, show.address)

THREAD_FUNCTION = _pointer("void *(*)(void *)")
INTERRUPT_HANDLER = _pointer("int (*)(void *)")
BIODONE = _pointer("rump_biodone_fn")
MODINIT = _pointer("rump_modinit_fn")
SYMLOAD = _pointer("rump_symload_fn")
COMPLOAD = _pointer("rump_compload_fn")

VIRTIF_SOFTC = _pointer("struct virtif_sc *")
VIRTIF_USER = _pointer("struct virtif_user *")
OUT_VIRTIF_USER = _out("struct virtif_user **", ctypes.c_void_p, show.address)
VIRTIF_IOVEC = _pointer("struct iovec *", show.iovec)
MAC_ADDRESS = _pointer("uint8_t *", show.mac)
DMA_SEGMENTS = _pointer("struct rumpcomp_pci_dmaseg *")

CLOCK = _int(
    show.names(_prefixed("RUMPUSER_CLOCK_", "RELWALL", "ABSMONO")),
)
LWP_OPERATION = _int(
    show.names(_prefixed("RUMPUSER_LWP_", "CREATE", "DESTROY", "SET", "CLEAR")),
)
RW_KIND = _int(show.names(_prefixed("RUMPUSER_RW_", "READER", "WRITER")))
MUTEX_FLAGS = _int(show.flags(_bits("RUMPUSER_MTX_", SPIN=1, KMUTEX=2)))
OPEN_FLAGS = _int(
    show.flags(
        {
            0: "RUMPUSER_OPEN_RDONLY",
            1: "RUMPUSER_OPEN_WRONLY",
            2: "RUMPUSER_OPEN_RDWR",
            **_bits("RUMPUSER_OPEN_", CREATE=4, EXCL=8, BIO=16),
        },
        zero="RUMPUSER_OPEN_RDONLY",
        mask=3,
    )
)
OUT_FILE_TYPE = _out(
    "int *",
    ctypes.c_int,
    show.names(_prefixed("RUMPUSER_FT_", "OTHER", "DIR", "REG", "BLK", "CHR")),
)
BIO_OPERATION = _int(show.flags(_bits("RUMPUSER_BIO_", READ=1, WRITE=2, SYNC=4)))
SYNC_FLAGS = _int(
    show.flags(_bits("RUMPUSER_SYNCFD_", READ=1, WRITE=2, BARRIER=4, SYNC=8))
)
RANDOM_FLAGS = _int(show.flags(_bits("RUMPUSER_RANDOM_", HARD=1, NOWAIT=2)))
FILE_OFFSET = CType("int64_t", ctypes.c_int64, show.names({-1: "RUMPUSER_IOV_NOSEEK"}))
EXIT_STATUS = _int(show.names({-1: "RUMPUSER_PANIC"}))
PID = CType("int64_t", ctypes.c_int64, show.names({-1: "RUMPUSER_PID_SELF"}))
