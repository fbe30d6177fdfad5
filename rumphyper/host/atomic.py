"""A 32-bit word in shared memory with compare-and-swap and exchange."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from typing_extensions import Buffer, Self

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import libatomic, swaps
from rumphyper.host.libc import pin

SWITCH = "RUMPHYPER_ATOMIC"
"""Set to ``thunks`` or ``libatomic`` in the environment to have no other way."""

WAYS = ("thunks", "libatomic")


class Word:
    """An aligned 32-bit word of a writable buffer, changed atomically.

    ``acquire()`` sets it from 0 to 1 and is truthy when it did so;
    ``release()`` sets it to 0 and returns what it held. Both are plain
    callables without arguments, made for hot paths: take them from the word each
    time, or let go of them before it is closed.

    ``way`` is ``thunks`` or ``libatomic``; by default thunks where they work,
    else libatomic, with the same results. The buffer stays exported until `close`.

    Raises HostError when the buffer is read-only, too short or the word not
    aligned, and UnsupportedError when neither thunks nor libatomic are there.
    """

    acquire: Callable[[], int]
    release: Callable[[], int]
    way: str

    def __init__(self, buffer: Buffer, offset: int, way: str | None = None) -> None:
        # In no local variable: a traceback that somebody keeps keeps those, and
        # the buffer would stay exported.
        self._pinned: ctypes.c_char | None = pin(buffer, offset, 4)
        address = ctypes.addressof(self._pinned)
        if address % 4:
            self._pinned = None
            cause = f"offset {offset} is not a multiple of 4 in memory"
            remedy = "align the word to 4 octets"
            raise HostError("atomic word", cause, remedy, errno.EINVAL)
        self._address = address
        self._pair: swaps.Pair | None = None
        try:
            self.way = self._open(way or os.environ.get(SWITCH) or "")
        except BaseException:
            self._pinned = None
            raise
        self._value = ctypes.c_uint32.from_address(address)

    def _open(self, way: str) -> str:
        """Take the way asked for, or the best that works; return its name."""
        if way not in ("", *WAYS):
            remedy = f"choose from {', '.join(WAYS)}"
            raise UnsupportedError(f"{SWITCH} {way!r}", "no such way", remedy)
        if way != "libatomic":
            try:
                self._swap = swaps.compare_and_swap()
                self._exchange = swaps.exchange()
                self._pair = swaps.draw(self._address)
                self.acquire, self.release = self._pair.acquire, self._pair.release
                return "thunks"
            except (HostError, UnsupportedError):
                if way:
                    raise
        self._swap = libatomic.compare_and_swap
        self._exchange = libatomic.exchange
        self.acquire, self.release = libatomic.bind(self._address)
        return "libatomic"

    def compare_and_swap(self, expected: int, new: int) -> bool:
        """Set the word to ``new`` if it holds ``expected``; true when it did."""
        self._check()
        return bool(self._swap(self._address, expected, new))

    def exchange(self, new: int) -> int:
        """Set the word to ``new`` and return what it held."""
        self._check()
        return self._exchange(self._address, new)

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
        pair, self._pair = self._pair, None  # put back twice, two words would get it
        if pair is not None:
            pair.put_back()
        self._pinned = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
