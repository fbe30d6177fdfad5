"""Request numbers of ioctl(2), right on every Linux architecture, and the call.

A request packs direction, size of the argument, type and number. Most
architectures use asm-generic/ioctl.h; mips, powerpc, sparc and alpha have three
bits of direction and thirteen of size, parisc swaps read and write (their own
asm/ioctl.h in the kernel's uapi headers).
"""

from __future__ import annotations

import ctypes
import errno

import attrs
from typing_extensions import Buffer

from rumphyper.errors import HostError
from rumphyper.host.arch import abi
from rumphyper.host.libc import check, libc, pin

_TYPE_SHIFT = 8
_SIZE_SHIFT = 16


@attrs.frozen
class Layout:
    """How one group of architectures packs a request."""

    size_bits: int
    none: int
    read: int
    write: int

    def size(self, request: int) -> int:
        """Octets of the argument that a request tells of."""
        return request >> _SIZE_SHIFT & (1 << self.size_bits) - 1

    def encode(self, direction: int, kind: int, number: int, size: int) -> int:
        """The request. Raises HostError when a part does not fit its field."""
        if not (0 <= kind < 256 and 0 <= number < 256):
            raise _misfit(f"type {kind} or number {number} exceeds 8 bits")
        if not 0 <= size < 1 << self.size_bits:
            raise _misfit(f"size {size} exceeds {self.size_bits} bits")
        high = direction << (_SIZE_SHIFT + self.size_bits)
        return high | size << _SIZE_SHIFT | kind << _TYPE_SHIFT | number


def _misfit(cause: str) -> HostError:
    remedy = "take type, number and size from the driver's header"
    return HostError("ioctl request", cause, remedy, errno.EINVAL)


GENERIC = Layout(size_bits=14, none=0, read=2, write=1)
NARROW = Layout(size_bits=13, none=1, read=2, write=4)
PARISC = Layout(size_bits=14, none=0, read=1, write=2)

_NARROW_ABIS = ("mips", "ppc", "powerpc", "sparc", "alpha")


def layout(name: str | None = None) -> Layout:
    """The layout of an ABI as `rumphyper.host.arch` names it (default: ours)."""
    name = abi() if name is None else name
    if name.startswith(_NARROW_ABIS):
        return NARROW
    return PARISC if name == "parisc" else GENERIC


def _kind(kind: int | str) -> int:
    return ord(kind) if isinstance(kind, str) else kind


def IO(kind: int | str, number: int) -> int:
    """``_IO``: a request without an argument that the size describes."""
    here = layout()
    return here.encode(here.none, _kind(kind), number, 0)


def IOR(kind: int | str, number: int, size: int) -> int:
    """``_IOR``: the kernel writes ``size`` octets for the caller to read."""
    here = layout()
    return here.encode(here.read, _kind(kind), number, size)


def IOW(kind: int | str, number: int, size: int) -> int:
    """``_IOW``: the caller hands over ``size`` octets."""
    here = layout()
    return here.encode(here.write, _kind(kind), number, size)


def IOWR(kind: int | str, number: int, size: int) -> int:
    """``_IOWR``: ``size`` octets go in and come back changed."""
    here = layout()
    return here.encode(here.read | here.write, _kind(kind), number, size)


def ioctl(
    fd: int,
    request: int,
    argument: int | Buffer = 0,
    thing: str = "ioctl",
    remedy: str = "",
) -> int:
    """Call ioctl(2) and return its result.

    ``argument`` is an integer (or an address) or a writable buffer that the
    kernel may change in place: a ctypes structure, a bytearray, an mmap. The
    size of a buffer is checked against the request's. Raises HostError named
    ``thing`` with the errno.
    """
    size = layout().size(request)
    if isinstance(argument, int):
        value = ctypes.c_void_p(argument)
    else:
        held = pin(argument, 0, max(1, size))  # alive until after the call
        value = ctypes.c_void_p(ctypes.addressof(held))
    number = ctypes.c_ulong(request)
    return check(libc().ioctl(ctypes.c_int(fd), number, value), thing, remedy)
