"""Sockets of the rump kernel with the methods of socket.socket.

How a call waits: every descriptor carries SO_RCVTIMEO and SO_SNDTIMEO of one
slice (transport.py), so a blocking call is one system call that comes back at
the latest after a slice; then Python looks at signals and the time left, and
calls again. What is left below one slice is waited for by pollts. A socket
without a timeout therefore costs one system call per send or receive, and
Ctrl-C works in any of them.

Calls differ from the host's where NetBSD differs from the host: docs/sockets.md
lists what is known.
"""

from __future__ import annotations

import ctypes
import socket
from typing import Any

from rumphyper.kernel import message, socketfile
from rumphyper.kernel.buffers import POOL
from rumphyper.kernel.sending import SocketSending
from rumphyper.kernel.sockaddr import Address


class Socket(SocketSending):
    """A socket of the rump kernel; made by `kernel.socket`."""

    def sendmsg(
        self,
        buffers: Any,
        ancdata: Any = (),
        flags: int = 0,
        address: object = None,
    ) -> int:
        """As socket.sendmsg; see message.py for the ancillary data that works."""
        return message.send(self, buffers, ancdata, flags, address)

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Address]:
        """As socket.recvmsg: data, ancillary data, flags, address."""
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        buffer = POOL.take(bufsize)
        try:
            parts = [(ctypes.addressof(buffer), bufsize)]
            count, ancillary, found, address = message.receive(
                self, parts, ancbufsize, flags
            )
            data: bytes = buffer[:count]
            return data, ancillary, found, address
        finally:
            POOL.give(buffer)

    def recvmsg_into(
        self, buffers: Any, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        """As socket.recvmsg_into."""
        return message.receive_into(self, buffers, ancbufsize, flags)

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file over the socket; as socket.makefile."""
        return socketfile.make(self, mode, buffering, encoding, errors, newline)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a binary file, from ``offset``, at most ``count`` octets.

        The file's own offset is then behind what was sent. Raises ValueError
        as socket.sendfile does.
        """
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if not self._type & socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        if count is not None and not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count is not None and count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        if offset:
            file.seek(offset)
        total = 0
        try:
            while count is None or total < count:
                size = 65536 if count is None else min(65536, count - total)
                block = file.read(size)
                if not block:
                    break
                self.sendall(block)
                total += len(block)
            return total
        finally:
            if total and hasattr(file, "seek"):
                file.seek(offset + total)
