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
import time
from typing import Any

from typing_extensions import Buffer

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel import constants, message, sockaddr, socketfile
from rumphyper.kernel.buffers import POOL, Pointer, readable, writable
from rumphyper.kernel.connecting import SocketConnecting
from rumphyper.kernel.constants import MSG_DONTWAIT, MSG_NBIO, MSG_WAITALL, failure
from rumphyper.kernel.poll import POLLIN, POLLOUT, wait
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.sockbase import Name
from rumphyper.kernel.transport import SIZES, SLICE

_EAGAIN, _EINTR = int(Errno.EAGAIN), int(Errno.EINTR)
_PEEK = constants.MESSAGE_FLAGS["MSG_PEEK"]


class Socket(SocketConnecting):
    """A socket of the rump kernel; made by `kernel.socket`."""

    # receiving

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most ``bufsize`` octets; empty at the end of a stream."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        buffer = POOL.take(bufsize)
        try:
            count = self._receive(buffer, bufsize, flags, None, None)
            data: bytes = buffer[:count]
            return data
        finally:
            POOL.give(buffer)

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into ``buffer`` without a copy; how many octets."""
        pointer, size = self._room(buffer, nbytes, "recv_into")
        return self._receive(pointer, size, flags, None, None)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Address]:
        """Octets and the sender's address."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        name = Name()
        buffer = POOL.take(bufsize)
        try:
            count = self._receive(buffer, bufsize, flags, name.raw, name.pointer)
            data: bytes = buffer[:count]
            return data, name.value()
        finally:
            POOL.give(buffer)

    def recvfrom_into(
        self, buffer: Buffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Address]:
        """Receive into ``buffer``; how many octets, and the sender's address."""
        pointer, size = self._room(buffer, nbytes, "recvfrom_into")
        name = Name()
        count = self._receive(pointer, size, flags, name.raw, name.pointer)
        return count, name.value()

    @staticmethod
    def _room(buffer: Buffer, nbytes: int, caller: str) -> tuple[Pointer, int]:
        pointer, size = writable(buffer)
        if nbytes < 0:
            raise ValueError(f"negative buffersize in {caller}")
        if nbytes > size:
            raise ValueError("nbytes is greater than the length of the buffer")
        return pointer, nbytes or size

    def _receive(
        self, pointer: Pointer, size: int, flags: int, name: Any, length: Any
    ) -> int:
        if flags:
            flags = constants.flags_to_netbsd(flags)
        timeout = self._recv_timeout
        deadline = None
        now = flags
        if timeout:
            deadline = time.monotonic() + timeout
            if timeout < SLICE:
                now = flags | MSG_DONTWAIT
        count = self._recvfrom(self._fd, pointer, SIZES[size], now, name, length)
        if count >= 0 and not flags & MSG_WAITALL:
            return count
        return self._receive_on(count, pointer, size, flags, name, length, deadline)

    def _receive_on(
        self,
        count: int,
        pointer: Pointer,
        size: int,
        flags: int,
        name: Any,
        length: Any,
        deadline: float | None,
    ) -> int:
        """Go on after a first call that failed, or that MSG_WAITALL wants more of."""
        total = 0
        no_wait = self._never_waits(flags)
        while True:
            if count >= 0:
                total += count
                more = flags & MSG_WAITALL and not flags & _PEEK and count
                if not more or total >= size or no_wait:
                    return total
                pointer = _behind(pointer, count)
            else:
                if count != -_EINTR:
                    if total:
                        return total
                    if count != -_EAGAIN or no_wait:
                        raise failure(-count)
            now = flags
            if deadline is not None and deadline - time.monotonic() < SLICE:
                now |= MSG_DONTWAIT
                if not wait(self._calls, self._fd, POLLIN, deadline):
                    if total:
                        return total
                    raise self._expired()
            count = self._recvfrom(
                self._fd, pointer, SIZES[size - total], now, name, length
            )

    # sending

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send from ``data`` without a copy; how many octets were taken."""
        pointer, size, pinned = readable(data)
        try:
            return self._send(pointer, size, flags, None, 0)
        finally:
            if pinned is not None:
                pinned.release()

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Send all of ``data``, within the timeout as a whole."""
        pointer, size, pinned = readable(data)
        try:
            timeout = self._send_timeout
            deadline = time.monotonic() + timeout if timeout else None
            done = self._send(pointer, size, flags, None, 0, deadline)
            while done < size:
                left = _behind(pointer, done)
                done += self._send(left, size - done, flags, None, 0, deadline)
        finally:
            if pinned is not None:
                pinned.release()

    def sendto(self, data: Buffer, *args: Any) -> int:
        """``sendto(data, address)`` or ``sendto(data, flags, address)``."""
        if not 1 <= len(args) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        flags = args[0] if len(args) == 2 else 0
        if not isinstance(flags, int):
            kind = type(flags).__name__
            raise TypeError(f"{kind!r} object cannot be interpreted as an integer")
        to = self._packed(args[-1], "sendto")
        pointer, size, pinned = readable(data)
        try:
            return self._send(pointer, size, flags, to, len(to))
        finally:
            if pinned is not None:
                pinned.release()

    def _send(
        self,
        pointer: Pointer,
        size: int,
        flags: int,
        to: bytes | None,
        length: int,
        deadline: float | None = None,
    ) -> int:
        number = self._send_flags
        if flags:
            number |= constants.flags_to_netbsd(flags)
            if number & MSG_DONTWAIT:
                number |= MSG_NBIO
        count = self._sendto(self._fd, pointer, SIZES[size], number, to, length)
        if count == size or (count >= 0 and self._send_timeout is not None):
            return count
        return self._send_on(count, pointer, size, flags, number, to, length, deadline)

    def _send_on(
        self,
        count: int,
        pointer: Pointer,
        size: int,
        host_flags: int,
        flags: int,
        to: bytes | None,
        length: int,
        deadline: float | None,
    ) -> int:
        """Go on after a call that failed or, on a blocking socket, sent a part."""
        total = waits = 0
        no_wait = self._never_waits(constants.flags_to_netbsd(host_flags))
        if deadline is None and self._send_timeout:
            deadline = time.monotonic() + self._send_timeout
        while True:
            if count >= 0:
                total += count
                if total >= size or no_wait or self._send_timeout is not None:
                    return total
                pointer = _behind(pointer, count)
            else:
                if count != -_EINTR:
                    if total and count != -_EAGAIN:
                        return total
                    if count != -_EAGAIN or no_wait:
                        raise failure(-count)
                if deadline is not None:
                    if not wait(self._calls, self._fd, POLLOUT, deadline):
                        raise self._expired()
                    if waits:  # there is room, though not for a datagram this long
                        time.sleep(0.01)
                    waits += 1
            count = self._sendto(
                self._fd, pointer, SIZES[size - total], flags, to, length
            )

    def _never_waits(self, flags: int) -> bool:
        """Whether a call with NetBSD's ``flags`` fails instead of waiting.

        With a timeout MSG_DONTWAIT does not count: socket.socket waits then too.
        """
        timeout = self._timeout
        return timeout == 0.0 or (timeout is None and bool(flags & MSG_DONTWAIT))

    def _packed(self, address: object, caller: str) -> bytes:
        """The sockaddr of ``address``; the last one is remembered."""
        if address == self._last and self._last is not None:
            return self._last_packed
        packed = sockaddr.pack(
            self._netbsd_family, address, caller, self._context.scope
        )
        if isinstance(address, tuple):
            self._last, self._last_packed = address, packed
        return packed

    # messages, files

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


def _behind(pointer: Pointer, count: int) -> ctypes.c_void_p:
    """The memory ``count`` octets behind ``pointer``."""
    if isinstance(pointer, bytes):
        address = ctypes.cast(ctypes.c_char_p(pointer), ctypes.c_void_p).value or 0
    elif isinstance(pointer, ctypes.c_void_p):
        address = pointer.value or 0
    elif isinstance(pointer, ctypes.Array):
        address = ctypes.addressof(pointer)
    else:
        address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
    return ctypes.c_void_p(address + count)
