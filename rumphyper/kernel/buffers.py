"""Memory for system calls: callers' buffers as they are, and buffers to reuse.

The calls have no argtypes (ctypes would convert every argument through Python,
300 ns a call): what is passed must be something that ctypes turns into a
pointer by itself. bytes are; for the rest these functions find one.
"""

from __future__ import annotations

import ctypes
from collections import deque
from typing import Any

from typing_extensions import Buffer

Pointer = Any
"""What ctypes passes as a pointer: bytes, an array, byref() of something."""

_SMALL = 1 << 16
_LARGE = 1 << 20


class Pool:
    """Receive buffers that are taken and given back: safe with threads and
    with signal handlers that run between two lines of their user."""

    def __init__(self) -> None:
        self._small: deque[Any] = deque(maxlen=16)
        self._large: deque[Any] = deque(maxlen=2)

    def take(self, size: int) -> Any:
        """An array of at least ``size`` octets whose slices are bytes."""
        try:
            if size <= _SMALL:
                return self._small.pop()
            if size <= _LARGE:
                return self._large.pop()
        except IndexError:
            size = _SMALL if size <= _SMALL else _LARGE
        return ctypes.create_string_buffer(size)

    def give(self, buffer: Any) -> None:
        """Take ``buffer`` back."""
        size = len(buffer)
        if size == _SMALL:
            self._small.append(buffer)
        elif size == _LARGE:
            self._large.append(buffer)


POOL = Pool()

_byref = ctypes.byref
_from_buffer = ctypes.c_char.from_buffer


class _PyBuffer(ctypes.Structure):
    """Py_buffer, part of CPython's stable ABI since 3.11 and unchanged before."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.c_void_p]
_release_buffer.restype = None


class Pinned:
    """The memory of any contiguous buffer, held in place until `release`.

    ``address`` and ``size`` are octets. Raises TypeError for no buffer and
    BufferError for one that is not contiguous.
    """

    def __init__(self, buffer: Buffer) -> None:
        self._view = _PyBuffer()
        self._held = False
        _get_buffer(buffer, ctypes.addressof(self._view), 0)
        self._held = True
        self.address: int = self._view.buf or 0
        self.size: int = self._view.len

    def release(self) -> None:
        """Let go of the memory."""
        if self._held:
            self._held = False
            _release_buffer(ctypes.addressof(self._view))

    __del__ = release


def readable(data: Buffer) -> tuple[Pointer, int, Pinned | None]:
    """Pointer, size and what must be held while a call reads ``data``."""
    if isinstance(data, bytes):
        return data, len(data), None
    if type(data) is bytearray and data:
        return _byref(_from_buffer(data)), len(data), None
    pinned = Pinned(data)
    return ctypes.c_void_p(pinned.address), pinned.size, pinned


def writable(buffer: Buffer) -> tuple[Pointer, int]:
    """Pointer and size of a buffer that a call may write to.

    The pointer keeps the buffer exported. Raises TypeError for a read-only
    buffer, as socket.recv_into does.
    """
    if type(buffer) is bytearray and buffer:
        return _byref(_from_buffer(buffer)), len(buffer)
    view = memoryview(buffer)
    size = view.nbytes
    if view.readonly:
        raise TypeError(
            "read-write bytes-like object expected, not " + type(buffer).__name__
        )
    if not size:
        return b"", 0
    return _byref(_from_buffer(view)), size


def behind(pointer: Pointer, count: int) -> ctypes.c_void_p:
    """The memory ``count`` octets behind ``pointer``."""
    if isinstance(pointer, bytes):
        address = ctypes.cast(ctypes.c_char_p(pointer), ctypes.c_void_p).value or 0
    elif isinstance(pointer, ctypes.c_void_p):
        address = pointer.value or 0
    elif isinstance(pointer, ctypes.Array):
        address = ctypes.addressof(pointer)
    else:
        address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
    return ctypes.c_void_p(address + count)
