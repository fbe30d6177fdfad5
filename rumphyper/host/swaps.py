"""Thunks that change 32-bit words, drawn from shared libraries of many."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections import deque
from collections.abc import Callable

from rumphyper.host.library import Thunk, ThunkLibrary
from rumphyper.host.thunks import ThunkBuilder

_PAIRS = 32
"""Pairs of thunks in one library: more are loaded as they are needed."""

# No thunk blocks, so the GIL is kept: that is faster, and while one runs no other
# thread can unmap the word it works on.
_FLAG = ctypes.PYFUNCTYPE(ctypes.c_int)
_OLD = ctypes.PYFUNCTYPE(ctypes.c_uint32)
_SWAP = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32
)
_EXCHANGE = ctypes.PYFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)

_nowhere = ctypes.c_uint32(1)
"""The word of thunks that nobody uses: it cannot be acquired."""

_lock = threading.Lock()
_free: deque[Pair] = deque()


class Pair:
    """Two thunks without arguments: 0 to 1 if it is 0, and exchange to 0."""

    def __init__(self, swap: Thunk, clear: Thunk) -> None:
        self._swap, self._clear = swap, clear
        swap.args[1], swap.args[2], clear.args[1] = 0, 1, 0
        self.acquire: Callable[[], int] = _FLAG(swap.address)
        self.release: Callable[[], int] = _OLD(clear.address)
        self.aim(ctypes.addressof(_nowhere))

    def aim(self, address: int) -> None:
        """Let both work on the word at an address."""
        self._swap.args[0] = self._clear.args[0] = address

    def put_back(self) -> None:
        """Give the pair up. It works on a word of no use until it is drawn again."""
        self.aim(ctypes.addressof(_nowhere))
        with _lock:
            _free.append(self)


@functools.cache
def _general() -> ThunkLibrary:
    builder = ThunkBuilder("librumphyper-swaps.so")
    builder.compare_and_swap("swap", bound=False)
    builder.exchange("exchange", bound=False)
    return builder.load()


@functools.cache
def compare_and_swap() -> Callable[[int, int, int], int]:
    """A function of address, expected and new value: 1 when it swapped, else 0.

    Raises UnsupportedError and HostError as `ThunkBuilder` does.
    """
    return _SWAP(_general().address("swap"))


@functools.cache
def exchange() -> Callable[[int, int], int]:
    """A function of address and new value that returns the old one."""
    return _EXCHANGE(_general().address("exchange"))


def draw(address: int) -> Pair:
    """A pair of thunks for the word at an address, until it is put back.

    Raises UnsupportedError and HostError as `ThunkBuilder` does.
    """
    with _lock:
        if not _free:
            _free.extend(_load())
        pair = _free.popleft()  # the one that has been out of use for longest
    pair.aim(address)
    return pair


def _load() -> list[Pair]:
    builder = ThunkBuilder("librumphyper-words.so")
    for index in range(_PAIRS):
        builder.compare_and_swap(f"acquire{index}")
        builder.exchange(f"release{index}")
    library = builder.load()
    return [
        Pair(library[f"acquire{index}"], library[f"release{index}"])
        for index in range(_PAIRS)
    ]
