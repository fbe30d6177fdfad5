"""NetBSD's errno values and their translation to and from the host's.

Hypercalls return NetBSD numbers (rumpuser(3), RETURN VALUES). Numbers and
names: NetBSD sys/sys/errno.h. What has no counterpart becomes EINVAL in both
directions: lib/librumpuser/rumpuser_errtrans.c and rump/rumperrno2host.h.
"""

from __future__ import annotations

import enum
import errno as host_errno
import os


class Errno(enum.IntEnum):
    """NetBSD's errno values."""

    EPERM = 1
    ENOENT = 2
    ESRCH = 3
    EINTR = 4
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    ENOEXEC = 8
    EBADF = 9
    ECHILD = 10
    EDEADLK = 11
    ENOMEM = 12
    EACCES = 13
    EFAULT = 14
    ENOTBLK = 15
    EBUSY = 16
    EEXIST = 17
    EXDEV = 18
    ENODEV = 19
    ENOTDIR = 20
    EISDIR = 21
    EINVAL = 22
    ENFILE = 23
    EMFILE = 24
    ENOTTY = 25
    ETXTBSY = 26
    EFBIG = 27
    ENOSPC = 28
    ESPIPE = 29
    EROFS = 30
    EMLINK = 31
    EPIPE = 32
    EDOM = 33
    ERANGE = 34
    EAGAIN = 35
    EINPROGRESS = 36
    EALREADY = 37
    ENOTSOCK = 38
    EDESTADDRREQ = 39
    EMSGSIZE = 40
    EPROTOTYPE = 41
    ENOPROTOOPT = 42
    EPROTONOSUPPORT = 43
    ESOCKTNOSUPPORT = 44
    EOPNOTSUPP = 45
    EPFNOSUPPORT = 46
    EAFNOSUPPORT = 47
    EADDRINUSE = 48
    EADDRNOTAVAIL = 49
    ENETDOWN = 50
    ENETUNREACH = 51
    ENETRESET = 52
    ECONNABORTED = 53
    ECONNRESET = 54
    ENOBUFS = 55
    EISCONN = 56
    ENOTCONN = 57
    ESHUTDOWN = 58
    ETOOMANYREFS = 59
    ETIMEDOUT = 60
    ECONNREFUSED = 61
    ELOOP = 62
    ENAMETOOLONG = 63
    EHOSTDOWN = 64
    EHOSTUNREACH = 65
    ENOTEMPTY = 66
    EPROCLIM = 67
    EUSERS = 68
    EDQUOT = 69
    ESTALE = 70
    EREMOTE = 71
    EBADRPC = 72
    ERPCMISMATCH = 73
    EPROGUNAVAIL = 74
    EPROGMISMATCH = 75
    EPROCUNAVAIL = 76
    ENOLCK = 77
    ENOSYS = 78
    EFTYPE = 79
    EAUTH = 80
    ENEEDAUTH = 81
    EIDRM = 82
    ENOMSG = 83
    EOVERFLOW = 84
    EILSEQ = 85
    ENOTSUP = 86
    ECANCELED = 87
    EBADMSG = 88
    ENODATA = 89
    ENOSR = 90
    ENOSTR = 91
    ETIME = 92
    ENOATTR = 93
    EMULTIHOP = 94
    ENOLINK = 95
    EPROTO = 96


def _host_numbers() -> dict[int, int]:
    """NetBSD number to host number, for every name that both have."""
    return {
        int(netbsd): getattr(host_errno, netbsd.name)
        for netbsd in Errno
        if hasattr(host_errno, netbsd.name)
    }


_TO_HOST = _host_numbers()

# Reversed so that of two names with one host number the first NetBSD one wins:
# on Linux ENOTSUP is EOPNOTSUPP, and rumpuser_errtrans.c makes that 45.
_TO_NETBSD = {host: netbsd for netbsd, host in reversed(_TO_HOST.items())}

_NAMES = {int(number): number.name for number in Errno}


def to_netbsd(number: int) -> int:
    """The NetBSD errno for the host's ``number``: 0 stays 0, unknown is EINVAL."""
    return _TO_NETBSD.get(number, 22) if number else 0


def to_host(number: int) -> int:
    """The host's errno for NetBSD's ``number``: 0 stays 0, unknown is EINVAL."""
    return _TO_HOST.get(number, host_errno.EINVAL) if number else 0


def from_oserror(error: OSError) -> int:
    """The NetBSD errno of a host exception; EIO when it carries none."""
    return to_netbsd(error.errno) if error.errno else int(Errno.EIO)


def errno_name(number: int) -> str:
    """The NetBSD name of ``number``, or the number in digits."""
    return _NAMES.get(number, str(number))


def errno_text(number: int) -> str:
    """What a trace prints: ``0`` or ``2 ENOENT``."""
    return f"{number} {_NAMES[number]}" if number in _NAMES else str(number)


def describe(number: int) -> str:
    """NetBSD's ``number`` in the host's words: ``ENOENT (No such file ...)``."""
    return f"{errno_name(number)} ({os.strerror(to_host(number))})"
