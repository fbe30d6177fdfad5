"""What a program sees of a kernel's system calls: sockets, polling, files.

`Face` is built on a `Transport` alone, so the same face serves a kernel in this
process and a client of one in another.
"""

from __future__ import annotations

import ctypes
import socket as host_socket
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from rumphyper.kernel import constants, ioctls, resolve
from rumphyper.kernel.buffers import writable
from rumphyper.kernel.descriptors import Path
from rumphyper.kernel.files import open_file
from rumphyper.kernel.filesystem import FileSystem
from rumphyper.kernel.poll import Descriptor, Poll, select
from rumphyper.kernel.resolve import AddressInfo
from rumphyper.kernel.sockbase import F_GETFL, O_NONBLOCK
from rumphyper.kernel.sockcontext import Name, SocketContext
from rumphyper.kernel.sockets import Socket
from rumphyper.kernel.transport import Calls, Transport

_SOCK_NONBLOCK = int(getattr(host_socket, "SOCK_NONBLOCK", 0))
_SOCK_CLOEXEC = int(getattr(host_socket, "SOCK_CLOEXEC", 0))
_DEFAULT: Any = object()
_SIOCGIFINDEX = ctypes.c_ulong(ioctls.SIOCGIFINDEX)


class Face:
    """Sockets, polling and files of the kernel behind a transport."""

    def __init__(self, transport: Transport) -> None:
        self.calls = Calls(transport)
        self._context = SocketContext(self.calls, self._interface_index)

    @cached_property
    def fs(self) -> FileSystem:
        """The kernel's files: an os-like namespace."""
        return FileSystem(self.calls, self._context.orphans)

    def open(
        self,
        file: Path | int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
    ) -> Any:
        """A file of the kernel; as the built-in open, by path or descriptor."""
        return open_file(
            self.fs, file, mode, buffering, encoding, errors, newline, closefd
        )

    def _interface_index(self, name: str) -> int:
        """The index of a kernel interface, for IPv6's scope ids.

        Raises OSError (ENXIO) when there is none of that name.
        """
        request = ioctls.ifreq(name)
        pointer, _ = writable(request)
        with self.socket(host_socket.AF_INET, host_socket.SOCK_DGRAM) as sock:
            self.calls.do("ioctl", sock.fileno(), _SIOCGIFINDEX, pointer)
        return int.from_bytes(request[16:20], sys.byteorder)

    def socket(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
    ) -> Socket:
        """A socket of the kernel, as socket.socket with the host's constants.

        By default TCP over IPv4. ``fileno`` takes over a descriptor of the
        kernel (see `Socket.detach`) and asks it for what is not given. Raises
        the OSError of the kernel's errno.
        """
        if fileno is not None:
            return self._adopt(fileno, family, type, proto)
        family = host_socket.AF_INET if family == -1 else family
        type = host_socket.SOCK_STREAM if type == -1 else type
        proto = max(proto, 0)
        kind = type & ~(_SOCK_NONBLOCK | _SOCK_CLOEXEC)
        self._context.bury()
        number = constants.type_to_netbsd(kind) | constants.SOCK_FLAGS
        fd = self.calls.do("socket", constants.family_to_netbsd(family), number, proto)
        return self._wrap(fd, family, kind, proto, type & _SOCK_NONBLOCK)

    def _wrap(
        self, fd: int, family: int, kind: int, proto: int, nonblock: int = 0
    ) -> Socket:
        sock = Socket(self._context, fd, family, kind, proto)
        sock._set_slices()
        timeout = 0.0 if nonblock else host_socket.getdefaulttimeout()
        if timeout is not None:
            sock.settimeout(timeout)
        return sock

    def _adopt(self, fd: int, family: int, kind: int, proto: int) -> Socket:
        if not isinstance(fd, int):
            raise TypeError(f"fileno must be an integer, not {fd.__class__.__name__}")
        if fd < 0:
            raise ValueError("negative file descriptor")
        name = Name()
        self.calls.do("getsockname", fd, name.raw, name.pointer)
        if family == -1:
            number = name.raw.raw[1]
            family = constants.FAMILY_TO_HOST.get(number, constants.Native(number))
        length = ctypes.c_uint(4)
        found = ctypes.c_int()
        self.calls.do(
            *("getsockopt", fd, constants.SOL_SOCKET, constants.SO_TYPE),
            *(ctypes.byref(found), ctypes.byref(length)),
        )
        if kind == -1:
            kind = constants.TYPE_TO_HOST.get(found.value, found.value)
        made = Socket(self._context, fd, family, kind, max(proto, 0))
        made._set_slices()
        if self.calls.do("fcntl", fd, F_GETFL, 0) & O_NONBLOCK:
            made._timeout = 0.0
            made._settle()
        return made

    def socketpair(
        self,
        family: int = host_socket.AF_UNIX,
        type: int = host_socket.SOCK_STREAM,
        proto: int = 0,
    ) -> tuple[Socket, Socket]:
        """Two connected local sockets."""
        self._context.bury()
        kind = type & ~(_SOCK_NONBLOCK | _SOCK_CLOEXEC)
        number = constants.type_to_netbsd(kind) | constants.SOCK_FLAGS
        pair = (ctypes.c_int * 2)()
        self.calls.do(
            "socketpair", constants.family_to_netbsd(family), number, proto, pair
        )
        nonblock = type & _SOCK_NONBLOCK
        return (
            self._wrap(pair[0], family, kind, proto, nonblock),
            self._wrap(pair[1], family, kind, proto, nonblock),
        )

    def create_connection(
        self,
        address: tuple[str, int],
        timeout: float | None = _DEFAULT,
        source_address: tuple[str, int] | None = None,
    ) -> Socket:
        """Connect TCP to ``(host, port)``; as socket.create_connection."""
        host, port = address
        last: OSError | None = None
        for family, kind, proto, _, target in self.getaddrinfo(
            host, port, 0, host_socket.SOCK_STREAM
        ):
            try:
                sock = self.socket(family, kind, proto)
            except OSError as error:
                last = error
                continue
            try:
                if timeout is not _DEFAULT:
                    sock.settimeout(timeout)
                if source_address is not None:
                    sock.bind(source_address)
                sock.connect(target)
                return sock
            except OSError as error:
                last = error
                sock.close()
            except BaseException:
                sock.close()
                raise
        raise last or OSError("getaddrinfo returns an empty list")

    def create_server(
        self,
        address: tuple[Any, ...],
        *,
        family: int = host_socket.AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> Socket:
        """A listening TCP socket; as socket.create_server."""
        sock = self.socket(family, host_socket.SOCK_STREAM)
        try:
            level = host_socket.SOL_SOCKET
            sock.setsockopt(level, host_socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(level, host_socket.SO_REUSEPORT, 1)
            if family == host_socket.AF_INET6:
                only = 0 if dualstack_ipv6 else 1
                sock.setsockopt(host_socket.IPPROTO_IPV6, host_socket.IPV6_V6ONLY, only)
            sock.bind(address)
            if backlog is None:
                sock.listen()
            else:
                sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Numeric addresses and ``localhost`` only; gaierror for the rest."""
        return resolve.getaddrinfo(
            host, port, family, type, proto, flags, self._interface_index
        )

    def poll(self) -> Poll:
        """A poll object over descriptors of the kernel; as select.poll."""
        return Poll(self.calls)

    def select(
        self,
        rlist: Iterable[Descriptor],
        wlist: Iterable[Descriptor],
        xlist: Iterable[Descriptor],
        timeout: float | None = None,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Wait for sockets of the kernel; as select.select."""
        return select(self.calls, rlist, wlist, xlist, timeout)
