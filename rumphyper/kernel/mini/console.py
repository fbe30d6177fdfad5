"""What the kernel prints: to the host's console and to its message buffer."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack

from rumphyper.kernel.mini.calls import Calls
from rumphyper.kernel.mini.memory import Memory

SIZE = 16 * 1024
"""Octets of the message buffer, as in a rump kernel."""


class Console:
    """The kernel's printf; the message buffer is mapped pages of the host."""

    def __init__(self, calls: Calls, memory: Memory, undo: ExitStack) -> None:
        self._calls = calls
        self._memory = memory
        self._buffer = memory.map(SIZE, "the message buffer")
        undo.callback(self._close)
        self._written = 0
        self._last = ""

    def printf(self, format: bytes, *values: bytes | int) -> None:
        """Print a line; ``format`` is C's, with %s for bytes and %d for int."""
        if self._buffer:
            self._log(format % values)
        self._calls.dprintf(format, *values)

    def banner(self, text: str) -> None:
        """Print ``text`` character by character, as a console driver does."""
        octets = text.encode()
        self._log(octets)
        for octet in octets:
            self._calls.putchar(octet)

    def _log(self, text: bytes) -> None:
        for start in range(0, len(text), SIZE):
            piece = text[start : start + SIZE]
            offset = self._written % SIZE
            first = min(len(piece), SIZE - offset)
            ctypes.memmove(self._buffer + offset, piece[:first], first)
            ctypes.memmove(self._buffer, piece[first:], len(piece) - first)
            self._written += len(piece)

    def messages(self) -> str:
        """What was printed last, from the message buffer: dmesg(8)."""
        if not self._buffer:
            return self._last
        octets = ctypes.string_at(self._buffer, min(self._written, SIZE))
        turn = self._written % SIZE if self._written > SIZE else 0
        return (octets[turn:] + octets[:turn]).decode("utf-8", "replace")

    def _close(self) -> None:
        """Unmap the buffer; `messages` still gives what it held."""
        self._last = self.messages()
        buffer, self._buffer = self._buffer, 0
        self._memory.unmap(buffer)
