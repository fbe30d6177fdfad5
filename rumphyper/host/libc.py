"""The C library of this process, and its errno turned into HostError.

Nothing is opened when this module is imported. A libc function that fails
leaves its errno in ctypes' per-thread copy, which `failure` and the ``check``
helpers read: call them straight after the function.
"""

from __future__ import annotations

import ctypes
import errno as errnos
import functools
import os

from typing_extensions import Buffer

from rumphyper.errors import HostError

MAP_FAILED = (1 << (8 * ctypes.sizeof(ctypes.c_void_p))) - 1
"""What mmap(2) returns when it fails, read as an unsigned pointer."""


@functools.cache
def libc() -> ctypes.CDLL:
    """The libc that this interpreter runs on, errno kept after every call.

    Its functions release the GIL. The handle is the program's global scope
    (dlopen(3) with a null name), so glibc and musl are found alike.
    """
    return ctypes.CDLL(None, use_errno=True)


def failure(thing: str, remedy: str = "", errno: int | None = None) -> HostError:
    """Build the HostError of the libc call that just failed in this thread.

    ``thing`` names what failed; the cause is strerror(3) of ``errno``, which
    is the errno that the call left when it is not given.
    """
    number = ctypes.get_errno() if errno is None else errno
    return HostError(thing, os.strerror(number), remedy, number)


def from_oserror(error: OSError, thing: str, remedy: str = "") -> HostError:
    """Build the HostError of an OSError that one of Python's modules raised."""
    cause = error.strerror or str(error)
    return HostError(thing, cause, remedy, error.errno or 0)


def check(result: int, thing: str, remedy: str = "") -> int:
    """Return ``result``, or raise HostError when it is -1."""
    if result == -1:
        raise failure(thing, remedy)
    return result


def check_pointer(result: int | None, thing: str, remedy: str = "") -> int:
    """Return an address, or raise HostError when it is NULL or MAP_FAILED.

    ctypes gives None for a null ``c_void_p``.
    """
    if not result or result == MAP_FAILED:
        raise failure(thing, remedy)
    return result


def check_error(number: int, thing: str, remedy: str = "") -> None:
    """Raise HostError unless ``number`` is 0: an errno as pthread_* return it."""
    if number:
        raise failure(thing, remedy, number)


def pin(buffer: Buffer, offset: int = 0, size: int = 1) -> ctypes.c_char:
    """Hold on to ``size`` octets of a writable buffer from ``offset`` on.

    While the result lives the buffer stays exported, so that its memory cannot
    go away (an mmap refuses to close, a bytearray to be resized); drop the last
    reference to let go. ``ctypes.addressof`` of the result is the address.
    Raises HostError (EINVAL) when the buffer is read-only, is not contiguous or
    does not hold those octets.
    """
    thing = f"buffer of type {type(buffer).__name__}"
    try:
        room = memoryview(buffer).nbytes
        if size < 1 or offset < 0 or offset + size > room:
            raise ValueError(
                f"octets {offset} to {offset + size} are outside of its {room}"
            )
        return ctypes.c_char.from_buffer(buffer, offset)
    except (TypeError, ValueError) as error:
        remedy = "pass a writable mmap, bytearray or memoryview that is large enough"
        raise HostError(thing, str(error), remedy, errnos.EINVAL) from None


def address(buffer: Buffer, offset: int = 0) -> int:
    """The address of octet ``offset`` of a writable buffer.

    It is valid while the caller keeps the buffer open and unresized: `pin` it
    when that is not already certain. Raises HostError as `pin` does.
    """
    return ctypes.addressof(pin(buffer, offset))
