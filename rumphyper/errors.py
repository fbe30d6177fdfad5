"""Errors that say what failed, why, and what to do about it.

Every exception raised on purpose derives from `RumphyperError` and carries
three texts: the thing (a file, a linkstr, a hypercall), the cause and the
remedy. The command line prints ``str(error)`` on one line and exits with 2.
"""

from __future__ import annotations


class RumphyperError(Exception):
    """Base of all errors of this package.

    ``thing`` names what failed, ``cause`` says why, ``remedy`` says what the
    user can do; ``str()`` joins them as ``thing: cause (remedy)``.
    """

    def __init__(self, thing: str, cause: str, remedy: str = "") -> None:
        super().__init__(thing, cause, remedy)
        self.thing = thing
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.thing}: {self.cause}"
        return f"{text} ({self.remedy})" if self.remedy else text


class HostError(RumphyperError):
    """The host refused a call: ``errno`` holds its number (0 if it has none)."""

    def __init__(
        self, thing: str, cause: str, remedy: str = "", errno: int = 0
    ) -> None:
        super().__init__(thing, cause, remedy)
        self.errno = errno


class UnsupportedError(RumphyperError):
    """This host, architecture or library cannot do what was asked."""


class LinkError(RumphyperError):
    """Base of the errors of links."""


class LinkstrError(LinkError, ValueError):
    """A linkstr that does not parse or names an unknown scheme."""


class LinkClosedError(LinkError):
    """The link was closed, by this call's caller or by another thread."""


class LinkEndedError(LinkError, EOFError):
    """The far side is over: no further frame can ever arrive."""


class FrameError(LinkError, ValueError):
    """A frame that the link cannot carry: too short or too long.

    Raised before any frame of its batch is sent.
    """


class CorruptError(LinkError):
    """Shared memory or a file breaks its format.

    The text names the file, the field and the value found.
    """


class ProtocolError(RumphyperError):
    """The far side of a syscall proxy broke the protocol, or speaks another one.

    The text names the frame or field and what was found.
    """


class UrlError(RumphyperError, ValueError):
    """A URL of a syscall proxy that does not parse."""


class FaultError(RumphyperError, ValueError):
    """A fault that does not parse, or that its hypercall cannot have."""


class RecordingError(RumphyperError, ValueError):
    """A file of recorded hypercalls that breaks its format.

    The text names the file, the line and what was found.
    """


class LibraryError(RumphyperError):
    """A rump kernel library is missing, or does not fit this host or its kin.

    The text names the files that were looked for and the folders.
    """


class InterfaceError(RumphyperError, ValueError):
    """An interface's name, address or setting that cannot be right."""


class KernelError(RumphyperError, OSError):
    """The NetBSD kernel refused a call.

    ``errno`` is the host's number for it (so that it compares with the errno
    module), ``netbsd_errno`` NetBSD's own.
    """

    def __init__(
        self,
        thing: str,
        cause: str,
        remedy: str = "",
        errno: int = 0,
        netbsd_errno: int = 0,
    ) -> None:
        super().__init__(thing, cause, remedy)
        self.errno = errno
        self.strerror = cause
        self.filename = None
        self.netbsd_errno = netbsd_errno

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.thing,
            self.cause,
            self.remedy,
            self.errno,
            self.netbsd_errno,
        )


class KernelClosedError(RumphyperError):
    """The rump kernel was shut down, or belongs to another process (fork)."""


class ServerError(RumphyperError, ConnectionError):
    """A rump kernel's server cannot be reached; ``errno`` is the host's."""

    def __init__(
        self, thing: str, cause: str, remedy: str = "", errno: int = 0
    ) -> None:
        super().__init__(thing, cause, remedy)
        self.errno = errno
        self.strerror = cause
        self.filename = None

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.thing, self.cause, self.remedy, self.errno)


class ServerGoneError(KernelClosedError, ServerError):
    """The connection to a rump kernel's server has ended."""
