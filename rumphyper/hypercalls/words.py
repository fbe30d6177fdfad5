"""Words of memory that Python writes and C may read: one for each mutex.

The word's address serves as the mutex's handle, and its value is the lwp that
holds it. So a copy of eight octets in C tells the owner, without Python.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import deque

WORD = ctypes.sizeof(ctypes.c_size_t)
CHUNK = 1 << 16
"""Octets that are mapped at once."""

RESTING = CHUNK // WORD
"""Words that lie idle before the oldest of them is used again: the handle of
what has been destroyed stays unknown for so long."""

Word = ctypes.c_size_t


class Words:
    """An arena of words, which stays mapped as long as the process."""

    def __init__(self) -> None:
        self._idle: deque[int] = deque()
        self._fresh: list[int] = []

    def take(self) -> tuple[int, Word]:
        """A word that holds 0: its address and itself. Any thread may call."""
        while True:
            try:
                if len(self._idle) > RESTING:
                    address = self._idle.popleft()
                else:
                    address = self._fresh.pop()
                break
            except IndexError:
                self._fresh += self._map()
        word = Word.from_address(address)
        word.value = 0
        return address, word

    def give(self, address: int) -> None:
        """Take a word back; it reads 0 until it is used again."""
        Word.from_address(address).value = 0
        self._idle.append(address)

    @staticmethod
    def _map() -> range:
        memory = (ctypes.c_char * CHUNK).from_buffer(mmap.mmap(-1, CHUNK))
        _forever.append(memory)
        start = ctypes.addressof(memory)
        return range(start, start + CHUNK, WORD)


_forever: list[object] = []
"""Chunks: C may read a word of a mutex that is gone."""
