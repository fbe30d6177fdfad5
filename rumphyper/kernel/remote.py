"""A rump kernel of another process: `rumphyper.connect`.

    with rumphyper.connect("unix:///tmp/rump.sock") as kernel:
        sock = kernel.create_connection(("10.0.0.1", 80))

The kernel gives each connection a process of its own: descriptors, a current
directory, a file mode mask. They go when the connection ends.
"""

from __future__ import annotations

import struct
import sys
from types import TracebackType
from typing import Any

from typing_extensions import Self

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.proxy.url import parse
from rumphyper.kernel.face import Face
from rumphyper.kernel.remotecalls import RemoteTransport, kernel_error
from rumphyper.kernel.remotehandshake import Prefork, open_server

TIMEOUT = 10.0
"""Seconds that connecting may take by default."""


class RemoteKernel(Face):
    """A process of a kernel elsewhere; made by `connect`.

    Any thread may use it. Everything raises ServerGoneError (a
    KernelClosedError and a ConnectionError) once the connection has ended, and
    in a process forked off after it was made.
    """

    def __init__(self, transport: RemoteTransport) -> None:
        super().__init__(transport)
        self._transport = transport

    @property
    def url(self) -> str:
        """Where the server is."""
        return str(self._transport.url)

    @property
    def version(self) -> str:
        """The kernel's release, such as ``7.99.34``, as the server tells it."""
        return self._transport.banner.osrelease

    @property
    def machine(self) -> str:
        """The architecture that the kernel was built for, by NetBSD's name."""
        return self._transport.banner.machine

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, for whatever reason."""
        return self._transport.link.closed

    def syscall(self, name: str, *arguments: Any) -> int:
        """Make the system call ``name`` (``socket``) and return its result.

        ``arguments`` are integers, bytes or ctypes objects; the kernel can read
        and write what these hold, and nothing that an address as an integer
        points to. Raises KernelError with the host's errno, ServerGoneError.
        """
        result = self._transport.bind(name)(*arguments)
        if result < 0:
            raise kernel_error(-result, name)
        return result

    def prefork(self) -> Prefork:
        """Have our process copied, with its descriptors, for another process of the
        host to take over: ``rumphyper.connect(prefork)`` there.

        The copy waits in the kernel until then. Raises KernelError when the
        kernel cannot.
        """
        return self._transport.prefork()

    def close(self) -> None:
        """End the connection, and our process in the kernel. Idempotent.

        What other threads wait for ends with ServerGoneError.
        """
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"NetBSD {self.version}"
        return f"<RemoteKernel {self.url} {state}>"


def connect(
    url: str | Prefork, timeout: float | None = TIMEOUT, *, reconnect: float = 0.0
) -> RemoteKernel:
    """Become a process of the rump kernel whose server is at ``url``.

    ``unix://PATH`` or ``tcp://A.B.C.D:PORT``, of NetBSD's rump_server or of
    ``rumphyper run --serve``; or what `RemoteKernel.prefork` gave another
    process. ``timeout`` is for connecting alone, in seconds. With ``reconnect``
    a call that finds the connection lost connects again, and tries for so many
    seconds; it starts with new descriptors then.

    Raises UrlError, ServerError when nobody answers in time, ProtocolError when
    it is no rump kernel's server, or speaks another version of the protocol.
    """
    if struct.calcsize("P") != 8 or sys.byteorder != "little":
        raise UnsupportedError(
            "rumphyper.connect",
            "this Python's words are not those of the protocol",
            "64 bits, least significant octet first, are supported",
        )
    if isinstance(url, Prefork):
        place, word = url.url, url.word
    else:
        place, word = parse(url), b""
    opened = open_server(place, timeout, word)
    return RemoteKernel(RemoteTransport(place, opened, timeout, reconnect))
