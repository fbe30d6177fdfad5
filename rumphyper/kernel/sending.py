"""Sending on kernel sockets: send, sendall, sendto."""

from __future__ import annotations

import time
from typing import Any

from typing_extensions import Buffer

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel import constants, sockaddr
from rumphyper.kernel.buffers import Pointer, behind, readable
from rumphyper.kernel.constants import MSG_DONTWAIT, MSG_NBIO, failure
from rumphyper.kernel.poll import POLLOUT, wait
from rumphyper.kernel.receiving import SocketReceiving
from rumphyper.kernel.transport import SIZES

_EAGAIN, _EINTR = int(Errno.EAGAIN), int(Errno.EINTR)


class SocketSending(SocketReceiving):
    """What puts data into a socket."""

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
                left = behind(pointer, done)
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
                pointer = behind(pointer, count)
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
