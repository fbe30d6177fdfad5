"""The file of a kernel socket: what `makefile` puts below the io layers."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Any

from typing_extensions import Buffer

if TYPE_CHECKING:
    from rumphyper.kernel.sockets import Socket

_WOULD_BLOCK = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))


class SocketFile(io.RawIOBase):
    """Reads and writes a socket; closing it closes nothing but itself."""

    def __init__(self, sock: Socket, mode: str) -> None:
        super().__init__()
        self._sock: Socket | None = sock
        self.mode = mode + "b"
        self._reading = "r" in mode
        self._writing = "w" in mode
        self._timed_out = False
        sock._io_refs += 1

    def _socket(self) -> Socket:
        if self._sock is None:
            raise ValueError("I/O operation on closed socket.")
        return self._sock

    def readinto(self, buffer: Any) -> int | None:
        """Octets read, None when a non-blocking socket has nothing."""
        self._checkReadable()
        sock = self._socket()
        if self._timed_out:  # what was read before is lost: as socket.SocketIO
            raise OSError("cannot read from timed out object")
        try:
            return sock.recv_into(buffer)
        except TimeoutError:
            self._timed_out = True
            raise
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise

    def write(self, data: Buffer) -> int | None:
        """Octets written, None when a non-blocking socket has no room."""
        self._checkWritable()
        try:
            return self._socket().send(data)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                return None
            raise

    def readable(self) -> bool:
        self._open()
        return self._reading

    def writable(self) -> bool:
        self._open()
        return self._writing

    def seekable(self) -> bool:
        self._open()
        return False

    def _open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed socket.")

    def _checkReadable(self) -> None:
        if not self.readable():
            raise io.UnsupportedOperation("File or stream is not readable.")

    def _checkWritable(self) -> None:
        if not self.writable():
            raise io.UnsupportedOperation("File or stream is not writable.")

    def fileno(self) -> int:
        """The descriptor in the rump kernel; none of the host's."""
        self._open()
        return self._socket().fileno()

    @property
    def name(self) -> int:
        return -1 if self.closed else self.fileno()

    def close(self) -> None:
        """Let go of the socket."""
        if self.closed:
            return
        super().close()
        sock, self._sock = self._sock, None
        if sock is not None:
            sock._drop_file()


def make(
    sock: Socket,
    mode: str,
    buffering: int | None,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> Any:
    """The io object of ``mode`` over ``sock``; as socket.makefile."""
    if not set(mode) <= {"r", "w", "b"}:
        raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
    writing = "w" in mode
    reading = "r" in mode or not writing
    raw = SocketFile(sock, ("r" if reading else "") + ("w" if writing else ""))
    return layers(raw, mode, buffering, encoding, errors, newline)


def layers(
    raw: io.RawIOBase,
    mode: str,
    buffering: int | None,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> Any:
    """Buffer and text layers over ``raw``, by the rules of the built-in open."""
    binary = "b" in mode
    line_buffering = buffering == 1 and not binary
    if buffering is None or buffering < 0 or line_buffering:
        buffering = io.DEFAULT_BUFFER_SIZE
    if buffering == 0:
        if not binary:
            raise ValueError("unbuffered streams must be binary")
        return raw
    buffer: Any
    if raw.readable() and raw.writable():
        pair = io.BufferedRWPair if not raw.seekable() else None
        buffer = (
            pair(raw, raw, buffering) if pair else io.BufferedRandom(raw, buffering)
        )
    elif raw.readable():
        buffer = io.BufferedReader(raw, buffering)
    else:
        buffer = io.BufferedWriter(raw, buffering)
    if binary:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering)
    text.mode = mode  # type: ignore[misc]
    return text
