"""What the scenarios of files are made with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

Files = Any
SCENARIOS: dict[str, Callable[[Files], Any]] = {}


def scenario(function: Callable[[Files], Any]) -> Callable[[Files], Any]:
    SCENARIOS[function.__name__] = function
    return function


@contextlib.contextmanager
def descriptor(net: Files, name: str, flags: int = 0) -> Iterator[int]:
    """A new file opened for reading and writing, removed at the end."""
    path = net.path(name)
    fd = net.fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
    try:
        yield fd
    finally:
        net.fs.close(fd)
        net.fs.unlink(path)


def write_file(net: Files, name: str, data: bytes = b"") -> str:
    path: str = net.path(name)
    with net.open(path, "wb") as file:
        file.write(data)
    return path
