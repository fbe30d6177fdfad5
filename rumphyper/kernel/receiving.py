"""Receiving on kernel sockets: recv, recvfrom and their forms into buffers."""

from __future__ import annotations

import time
from typing import Any

from typing_extensions import Buffer

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel import constants
from rumphyper.kernel.buffers import POOL, Pointer, behind, writable
from rumphyper.kernel.connecting import SocketConnecting
from rumphyper.kernel.constants import MSG_DONTWAIT, MSG_WAITALL, failure
from rumphyper.kernel.poll import POLLIN, wait
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.sockcontext import Name
from rumphyper.kernel.transport import SIZES, SLICE

_EAGAIN, _EINTR = int(Errno.EAGAIN), int(Errno.EINTR)
_PEEK = constants.MESSAGE_FLAGS["MSG_PEEK"]


class SocketReceiving(SocketConnecting):
    """What takes data from a socket."""

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
                pointer = behind(pointer, count)
            else:
                if count != -_EINTR and (count != -_EAGAIN or no_wait):
                    if total:
                        return total
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
