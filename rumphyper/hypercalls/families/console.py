"""What the kernel prints.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

from rumphyper.host.libc import libc
from rumphyper.hypercalls.family import Family

LINE_LIMIT = 4096
"""Octets of a line after which it is written without its end."""

DPRINTF_ROOM = 4096


def _to_stdout(text: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def to_stderr(text: str) -> None:
    """Write to the error output, if there is one."""
    if sys.stderr is not None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Console(Family):
    """Collects characters into lines.

    ``write`` gets the console's lines (default: to sys.stdout), ``debug`` what
    the kernel prints for debugging (default: to sys.stderr), both as text.
    """

    family = "console"

    def __init__(
        self,
        write: Callable[[str], object] = _to_stdout,
        debug: Callable[[str], object] = to_stderr,
    ) -> None:
        self.write = write
        self.debug = debug
        self._line = bytearray()
        # Reentrant: a signal handler may flush the console.
        self._lock = threading.RLock()
        self._snprintf = libc().snprintf

    def putchar(self, ch: int) -> None:
        """Add a character to the line; write the line at its end."""
        self._line.append(ch & 0xFF)
        if ch == 10 or len(self._line) >= LINE_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Write the line as far as it has come."""
        with self._lock:
            line = bytes(self._line)
            del self._line[: len(line)]
            if line:
                self.write(line.decode("utf-8", "replace"))

    def dprintf(self, format: bytes | None, *words: int) -> None:
        """Format as printf(3) does, by libc, from the caller's raw words.

        ``words`` are what lies in the registers and on the stack behind the
        format; libc takes of each as much as the format says.
        """
        arguments: list[Any] = [ctypes.c_size_t(word) for word in words]
        buffer = ctypes.create_string_buffer(DPRINTF_ROOM)
        self._snprintf(
            buffer, ctypes.c_size_t(DPRINTF_ROOM), ctypes.c_char_p(format), *arguments
        )
        self.debug(buffer.value.decode("utf-8", "replace"))

    def stop(self) -> None:
        """Write an unfinished line."""
        self.flush()
