"""Options and addresses of a kernel socket: setsockopt, getsockopt and names."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import sys

from typing_extensions import Buffer

from rumphyper.errors import RumphyperError
from rumphyper.kernel import constants, sockopt
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.sockbase import F_GETFL, SocketBase
from rumphyper.kernel.sockcontext import Name


class SocketOptions(SocketBase):
    """Options and names of a kernel socket."""

    def setsockopt(
        self,
        level: int,
        optname: int,
        value: int | Buffer | None,
        optlen: int | None = None,
    ) -> None:
        """Set an option by the host's numbers; as socket.setsockopt."""
        level, option = sockopt.translate(level, optname)
        if value is None:
            if optlen is None:
                raise TypeError("setsockopt() requires 4 arguments when value is None")
            self._calls.do("setsockopt", self._fd, level, option, None, optlen)
            return
        raw = _int_octets(value) if isinstance(value, int) else bytes(value)
        raw = sockopt.value_to_netbsd(level, option, raw)
        if level == constants.SOL_SOCKET and option in self._user_timeouts:
            self._calls.do("fcntl", self._fd, F_GETFL, 0)  # EBADF when closed
            self._user_timeouts[option] = raw
            self._settle()
            return
        self._calls.do("setsockopt", self._fd, level, option, raw, len(raw))

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """An option as int, or as bytes when ``buflen`` is given."""
        answer = sockopt.known_to_us(level, optname)
        if answer:
            self._calls.do("fcntl", self._fd, F_GETFL, 0)
            number = int(getattr(self, answer))
            if answer == "proto" and not number:
                number = sockopt.DEFAULT_PROTOCOLS.get((self._family, self._type), 0)
            return struct.pack("i", number)[:buflen] if buflen else number
        level, option = sockopt.translate(level, optname)
        if buflen == 0:
            number = self._integer_option(level, option)
            return sockopt.number_to_host(level, option, number)
        if not 0 < buflen <= 1024:
            raise OSError("getsockopt buflen out of range")
        if level == constants.SOL_SOCKET and option in self._user_timeouts:
            self._calls.do("fcntl", self._fd, F_GETFL, 0)
            raw = self._user_timeouts[option] or bytes(sockopt.Timeval())
        else:
            raw = self._raw_option(level, option, buflen)
        return sockopt.value_to_host(level, option, raw)[:buflen]

    def _raw_option(self, level: int, option: int, size: int) -> bytes:
        room = ctypes.create_string_buffer(size)
        length = ctypes.c_uint(size)
        pointer = ctypes.byref(length)
        self._calls.do("getsockopt", self._fd, level, option, room, pointer)
        return room.raw[: min(length.value, size)]

    def _integer_option(self, level: int, option: int) -> int:
        raw = self._raw_option(level, option, ctypes.sizeof(ctypes.c_int))
        return int.from_bytes(raw, sys.byteorder, signed=len(raw) == 4)

    # names

    def getsockname(self) -> Address:
        """This end's address."""
        return self._name_of("getsockname")

    def getpeername(self) -> Address:
        """The other end's address."""
        return self._name_of("getpeername")

    def __repr__(self) -> str:
        text = ""
        for label, name in (("laddr", "getsockname"), ("raddr", "getpeername")):
            with contextlib.suppress(OSError, RumphyperError):
                address = self._name_of(name)
                text += f", {label}={address!r}" if address else ""
        return self._text(text)

    def _name_of(self, call: str) -> Address:
        name = Name()
        self._calls.do(call, self._fd, name.raw, name.pointer)
        return name.value()


def _int_octets(value: int) -> bytes:
    """C's int; OverflowError for what it does not hold."""
    try:
        return struct.pack("i", value)
    except struct.error as error:
        raise OverflowError(str(error)) from None
