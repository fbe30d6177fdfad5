"""Binding, connecting, listening and accepting on kernel sockets."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from rumphyper.hypercalls.errno import Errno, to_host
from rumphyper.kernel import constants, sockaddr
from rumphyper.kernel.constants import failure
from rumphyper.kernel.poll import POLLIN, POLLOUT, deadline_of, wait
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.sockbase import F_DUPFD_CLOEXEC
from rumphyper.kernel.sockcontext import Name
from rumphyper.kernel.sockoptions import SocketOptions

if TYPE_CHECKING:
    from rumphyper.kernel.sockets import Socket

_BACKLOG = 128  # SOMAXCONN of both systems (sys/sys/socket.h)


class SocketConnecting(SocketOptions):
    """What makes and ends connections."""

    def bind(self, address: object) -> None:
        """Take a local address."""
        raw = self._sockaddr(address, "bind")
        self._calls.do("bind", self._fd, raw, len(raw))

    def listen(self, backlog: int = _BACKLOG) -> None:
        """Let others connect."""
        self._calls.do("listen", self._fd, max(backlog, 0))
        if not self._listening:
            self._set_nonblock(True)
            self._listening = True

    def accept(self) -> tuple[Socket, Address]:
        """The next connection as a blocking socket, and its peer's address."""
        from rumphyper.kernel.sockets import Socket

        name = Name()
        deadline = deadline_of(self._timeout)
        self._context.bury()
        while True:
            fd = self._calls.paccept(
                self._fd, name.raw, name.pointer, None, constants.SOCK_FLAGS
            )
            if fd >= 0:
                break
            if fd == -Errno.EINTR:
                continue
            if fd != -Errno.EAGAIN or self._timeout == 0.0:
                raise failure(-fd)
            if not self._listening:  # listen was called on the bare descriptor
                self._set_nonblock(True)
                self._listening = True
            if not wait(self._calls, self._fd, POLLIN, deadline):
                raise self._expired()
        made = Socket(self._context, fd, self._family, self._type, self._proto)
        default = socket.getdefaulttimeout()
        if default is not None:
            made.settimeout(default)
        return made, name.value()

    def connect(self, address: object) -> None:
        """Connect, within the timeout; raises the OSError of what went wrong."""
        raw = self._sockaddr(address, "connect")
        number = self._connect(raw)
        if self._expired_connect:
            raise TimeoutError("timed out")
        if number:
            raise failure(number)

    def connect_ex(self, address: object) -> int:
        """Connect; the host's errno, 0 when connected.

        A timeout of the socket counts as EAGAIN, as in socket.connect_ex.
        """
        number = self._connect(self._sockaddr(address, "connect_ex"))
        return errno.EAGAIN if self._expired_connect else to_host(number)

    _expired_connect = False

    def _connect(self, raw: bytes) -> int:
        self._expired_connect = False
        # Only TCP's connect waits, and the kernel knows no time limit for it:
        # do it non-blocking and wait by pollts.
        waits = (
            self._timeout != 0.0
            and self._type == socket.SOCK_STREAM
            and self._netbsd_family != sockaddr.LOCAL
        )
        if not waits:
            return self._connect_once(raw)
        self._set_nonblock(True)
        try:
            number = self._connect_once(raw)
            if number != Errno.EINPROGRESS:
                return number
            if not wait(self._calls, self._fd, POLLOUT, deadline_of(self._timeout)):
                self._expired_connect = True
                return Errno.ETIMEDOUT
            return self._integer_option(constants.SOL_SOCKET, constants.SO_ERROR)
        finally:
            if self._fd >= 0:
                self._set_nonblock(False)

    def _connect_once(self, raw: bytes) -> int:
        while True:
            number = -self._calls.connect(self._fd, raw, len(raw))
            if number != Errno.EINTR:
                return number

    def shutdown(self, how: int) -> None:
        """End reading, writing or both (SHUT_RD, SHUT_WR, SHUT_RDWR)."""
        self._calls.do("shutdown", self._fd, how)

    def dup(self) -> Socket:
        """Another socket object with a descriptor of its own."""
        from rumphyper.kernel.sockets import Socket

        fd = self._calls.do("fcntl", self._fd, F_DUPFD_CLOEXEC, 0)
        made = Socket(self._context, fd, self._family, self._type, self._proto)
        made._listening = self._listening
        made._timeout = self._timeout
        made._user_timeouts = dict(self._user_timeouts)
        made._settle()
        return made

    def _sockaddr(self, address: object, caller: str) -> bytes:
        return sockaddr.pack(self._netbsd_family, address, caller, self._context.scope)
