"""A 32-bit word in shared memory with compare-and-swap and exchange."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from typing_extensions import Buffer, Self

from rumphyper.errors import HostError
from rumphyper.host import libatomic
from rumphyper.host.libc import pin


class Word:
    """An aligned 32-bit word of a writable buffer, changed atomically.

    ``acquire()`` sets it from 0 to 1 and is truthy when it did so;
    ``release()`` sets it to 0 and returns what it held. Both are plain
    callables without arguments, made for hot paths.

    The buffer stays exported until `close`. Raises HostError when the buffer is
    read-only, too short or the word not aligned, and UnsupportedError when
    neither thunks nor libatomic are there.
    """

    acquire: Callable[[], int]
    release: Callable[[], int]

    def __init__(self, buffer: Buffer, offset: int) -> None:
        pinned = pin(buffer, offset, 4)
        address = ctypes.addressof(pinned)
        if address % 4:
            cause = f"offset {offset} is not a multiple of 4 in memory"
            raise HostError("atomic word", cause, "align the word to 4 octets")
        libatomic.library()
        self._pinned: ctypes.c_char | None = pinned
        self._address = address
        self._value = ctypes.c_uint32.from_address(address)
        self.acquire = lambda: libatomic.compare_and_swap(address, 0, 1)
        self.release = lambda: libatomic.exchange(address, 0)

    def compare_and_swap(self, expected: int, new: int) -> bool:
        """Set the word to ``new`` if it holds ``expected``; true when it did."""
        self._check()
        return libatomic.compare_and_swap(self._address, expected, new)

    def exchange(self, new: int) -> int:
        """Set the word to ``new`` and return what it held."""
        self._check()
        return libatomic.exchange(self._address, new)

    @property
    def value(self) -> int:
        """What the word holds now."""
        self._check()
        return self._value.value

    def _check(self) -> None:
        if self._pinned is None:
            raise HostError("atomic word", "it is closed", "make a new one")

    def _closed(self) -> int:
        raise HostError("atomic word", "it is closed", "make a new one")

    def close(self) -> None:
        """Let go of the buffer. Idempotent; every later use raises HostError."""
        self.acquire = self.release = self._closed
        self._pinned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
