"""libc's mutexes and condition variables, as far as hypercalls want them.

Facts: POSIX pthread.h; glibc nptl (sysdeps/nptl/bits/struct_mutex.h): a mutex
holds its owner's thread id in its third word, on every architecture.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.errors import UnsupportedError
from rumphyper.host.libc import libc

ROOM = 256
"""Octets for a mutex with notes behind it (libc_owner.py), or a condition variable."""

OWNER = 8
"""Where in a mutex its owner's thread id is."""

CLOCK_MONOTONIC = 1


class Timespec(ctypes.Structure):
    """struct timespec of a 64-bit host."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def _function(name: str, *parameters: Any) -> Callable[..., int]:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, *parameters)
    function: Callable[..., int] = prototype((name, libc()))
    return function


class Pthreads:
    """The functions, called without the GIL, and their addresses for slots."""

    def __init__(self) -> None:
        word = ctypes.c_size_t
        self.mutex_lock = _function("pthread_mutex_lock", word)
        self.mutex_trylock = _function("pthread_mutex_trylock", word)
        self.mutex_unlock = _function("pthread_mutex_unlock", word)
        self.mutex_destroy = _function("pthread_mutex_destroy", word)
        self.cond_wait = _function("pthread_cond_wait", word, word)
        timespec = ctypes.POINTER(Timespec)
        self.cond_timedwait = _function("pthread_cond_timedwait", word, word, timespec)
        self.cond_destroy = _function("pthread_cond_destroy", word)
        self._mutex_init = _function("pthread_mutex_init", word, word)
        self._cond_init = _function("pthread_cond_init", word, ctypes.c_char_p)
        self._condattr = ctypes.create_string_buffer(ROOM)
        attribute = ctypes.c_char_p, ctypes.c_int
        _function("pthread_condattr_init", ctypes.c_char_p)(self._condattr)
        _function("pthread_condattr_setclock", *attribute)(
            self._condattr, CLOCK_MONOTONIC
        )
        prototype = ctypes.CFUNCTYPE(word, word, word)
        self._calloc: Callable[[int, int], int] = prototype(("calloc", libc()))
        self.free: Callable[[int], None] = ctypes.CFUNCTYPE(None, word)(
            ("free", libc())
        )

    def make_mutex(self) -> int:
        """A mutex of the quickest kind; its address. MemoryError without memory."""
        address = self._room()
        self._mutex_init(address, 0)
        return address

    def make_cond(self) -> int:
        """A condition variable on the monotonic clock; its address."""
        address = self._room()
        self._cond_init(address, self._condattr)
        return address

    def _room(self) -> int:
        address = self._calloc(1, ROOM)
        if not address:
            raise MemoryError("no memory for a lock")
        return address

    def check(self) -> None:
        """Raise UnsupportedError when a mutex does not tell its owner as glibc's."""
        mutex = self.make_mutex()
        try:
            owner = ctypes.c_uint.from_address(mutex + OWNER)
            self.mutex_lock(mutex)
            held = owner.value
            self.mutex_unlock(mutex)
            if (held, owner.value) != (threading.get_native_id(), 0):
                raise UnsupportedError(
                    "libc's mutexes",
                    "they do not hold their owner's thread id as glibc's do",
                    "choose hypercalls='python'",
                )
        finally:
            self.mutex_destroy(mutex)
            self.free(mutex)


@functools.cache
def pthreads() -> Pthreads:
    """The functions, checked. Raises UnsupportedError on a libc of another kind."""
    found = Pthreads()
    found.check()
    return found


def address_of(name: str) -> int:
    """The address of a function of libc."""
    return ctypes.cast(getattr(libc(), name), ctypes.c_void_p).value or 0
