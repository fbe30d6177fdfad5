"""Libraries of thunks, and functions for them to call."""

from __future__ import annotations

import ctypes
import threading
from _ctypes import CFuncPtr
from collections.abc import Callable

from rumphyper.host.thunks import ThunkBuilder, ThunkLibrary

LONG = ctypes.c_int64
Build = Callable[[ThunkBuilder], None]
Words = tuple[int, ...]


def load(*builds: Build) -> ThunkLibrary:
    builder = ThunkBuilder("libtest-thunks.so")
    for build in builds:
        build(builder)
    return builder.load()


def noting(calls: list[Words], result: int) -> Callable[..., int]:
    """A function that appends its arguments to a list and returns a constant."""

    def function(*values: int) -> int:
        calls.append(values)
        return result

    return function


def integers(count: int) -> type[CFuncPtr]:
    return ctypes.CFUNCTYPE(LONG, *[LONG] * count)


def weighted(*values: int) -> int:
    """A sum in which every place counts differently, so that a swap shows."""
    return sum((index + 1) * value for index, value in enumerate(values))


def together(hands: int, work: Callable[[], None]) -> None:
    """Run a function in threads at once; fail if one of them failed."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(hands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
