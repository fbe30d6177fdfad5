"""The life of a kernel socket: its descriptor, its timeout, its end.

The base of sockoptions.py and sockets.py, which add options and traffic.
"""

from __future__ import annotations

import socket
import warnings
from types import TracebackType

from typing_extensions import Self

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel import constants, sockopt
from rumphyper.kernel.constants import failure
from rumphyper.kernel.sockcontext import SocketContext
from rumphyper.kernel.transport import SLICE

_Kind = type[BaseException]  # inside the class `type` is the property

F_GETFD, F_SETFD, F_GETFL, F_SETFL = 1, 2, 3, 4  # sys/sys/fcntl.h
F_DUPFD_CLOEXEC = 12
O_NONBLOCK = 0x0004

_NOSIGNAL = constants.MESSAGE_FLAGS["MSG_NOSIGNAL"]
_NO_WAIT = constants.MSG_NBIO | constants.MSG_DONTWAIT
_SLICE_TIMEVAL = sockopt.timeval(SLICE)


class SocketBase:
    """Descriptor and timeouts of a kernel socket."""

    def __init__(
        self, context: SocketContext, fd: int, family: int, kind: int, proto: int
    ) -> None:
        self._context = context
        self._calls = calls = context.calls
        self._recvfrom = calls.recvfrom
        self._sendto = calls.sendto
        self._family = family
        self._type = kind
        self._proto = proto
        self._netbsd_family = constants.family_to_netbsd(family)
        self._io_refs = 0
        self._closed = False
        self._listening = False  # then O_NONBLOCK stays: accept has no MSG_DONTWAIT
        self._timeout: float | None = None
        self._user_timeouts = {constants.SO_RCVTIMEO: b"", constants.SO_SNDTIMEO: b""}
        self._recv_timeout: float | None = None
        self._send_timeout: float | None = None
        self._send_flags = _NOSIGNAL
        self._last: object = None
        self._last_packed = b""
        self._fd = fd  # last: __del__ looks at the rest when there is one

    @property
    def family(self) -> int:
        """The host's AF_* constant."""
        try:
            return socket.AddressFamily(self._family)
        except ValueError:
            return self._family

    @property
    def type(self) -> int:
        """The host's SOCK_* constant."""
        try:
            return socket.SocketKind(self._type)
        except ValueError:
            return self._type

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def fileno(self) -> int:
        """The descriptor in the rump kernel, -1 once closed.

        It is no descriptor of the host: pass it to `kernel.poll`,
        `kernel.select` and `kernel.fs`, never to `os` or `select`.
        """
        return self._fd

    def _set_slices(self) -> None:
        """Cut this socket's waits in the kernel (accepted sockets inherit it)."""
        for option in (constants.SO_RCVTIMEO, constants.SO_SNDTIMEO):
            self._calls.do(
                "setsockopt",
                self._fd,
                constants.SOL_SOCKET,
                option,
                _SLICE_TIMEVAL,
                len(_SLICE_TIMEVAL),
            )

    def _set_nonblock(self, on: bool) -> None:
        flags = self._calls.do("fcntl", self._fd, F_GETFL, 0)
        wanted = flags | O_NONBLOCK if on else flags & ~O_NONBLOCK
        if wanted != flags:
            self._calls.do("fcntl", self._fd, F_SETFL, wanted)

    # timeouts

    def gettimeout(self) -> float | None:
        """Seconds, None for blocking, 0.0 for non-blocking."""
        return self._timeout

    def settimeout(self, value: float | None) -> None:
        """Seconds that a call may wait; None blocks, 0 never waits."""
        if value is not None:
            if not isinstance(value, (int, float)):
                if not hasattr(value, "__float__"):
                    kind = type(value).__name__
                    raise TypeError(f"{kind!r} object cannot be interpreted as a time")
                value = float(value)
            if value != value:
                raise ValueError("Invalid value NaN (not a number)")
            if value < 0:
                raise ValueError("Timeout value out of range")
            if value > 9e9:
                raise OverflowError("timestamp out of range for platform time_t")
            value = float(value)
        if (value == 0.0) != (self._timeout == 0.0) and not self._listening:
            self._set_nonblock(value == 0.0)
        self._timeout = value
        self._settle()

    def setblocking(self, flag: bool) -> None:
        """``settimeout(None)`` or ``settimeout(0.0)``."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """False when the socket never waits."""
        return self._timeout != 0.0

    def _settle(self) -> None:
        """Work out what the traffic calls look at."""
        self._recv_timeout = self._user_timeout(constants.SO_RCVTIMEO)
        self._send_timeout = self._user_timeout(constants.SO_SNDTIMEO)
        # With a time limit sending must not wait in the kernel at all: a slow
        # reader would let each wait there begin anew.
        self._send_flags = _NOSIGNAL | (_NO_WAIT if self._send_timeout else 0)

    def _user_timeout(self, option: int) -> float | None:
        if self._timeout is not None or not self._user_timeouts[option]:
            return self._timeout
        span = sockopt.Timeval.from_buffer_copy(self._user_timeouts[option])
        return (span.seconds + span.microseconds / 1e6) or None

    def _expired(self) -> OSError:
        """The exception of a wait that is over."""
        if self._timeout is None:  # by SO_RCVTIMEO or SO_SNDTIMEO
            return failure(Errno.EAGAIN)
        return TimeoutError("timed out")

    def _never_waits(self, flags: int) -> bool:
        """Whether a call with NetBSD's ``flags`` fails instead of waiting.

        With a timeout MSG_DONTWAIT does not count: socket.socket waits then too.
        """
        timeout = self._timeout
        return timeout == 0.0 or (
            timeout is None and bool(flags & constants.MSG_DONTWAIT)
        )

    # inheritance by exec, which clients of the syscall proxy have

    def get_inheritable(self) -> bool:
        """Whether the descriptor outlives an exec of its process."""
        return not self._calls.do("fcntl", self._fd, F_GETFD, 0)

    def set_inheritable(self, inheritable: bool) -> None:
        """Let the descriptor outlive an exec, or not."""
        self._calls.do("fcntl", self._fd, F_SETFD, 0 if inheritable else 1)

    # the end

    def close(self) -> None:
        """Close the socket, once files of `makefile` are closed too. Idempotent."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._calls.do("close", fd)

    def _drop_file(self) -> None:
        """A file of `makefile` was closed."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def detach(self) -> int:
        """Give the kernel descriptor away: the socket is closed, the number not."""
        fd, self._fd = self._fd, -1
        self._closed = True
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: _Kind | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            text = f"unclosed {self._text('')}"  # without asking for addresses
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            self._fd = -1
            self._context.orphans.append(fd)

    def __getstate__(self) -> object:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def _text(self, addresses: str) -> str:
        closed = " [closed]" if self._closed else ""
        return (
            f"<rumphyper {self.__class__.__name__}{closed} fd={self._fd}, "
            f"family={self.family!s}, type={self.type!s}, proto={self._proto}"
            f"{addresses}>"
        )
