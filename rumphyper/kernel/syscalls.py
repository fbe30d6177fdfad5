"""The kernel's system calls as functions: symbols and results.

librump exports each as ``rump___sysimpl_NAME``, where a changed structure in
the arguments makes a new name: mount50, stat50. The names without a number
that are used here mean the versions below, whose structures this package
knows. Source: NetBSD sys/rump/include/rump/rump_syscalls.h (7.99.34).
"""

from __future__ import annotations

import ctypes
from ctypes import get_errno
from typing import Any

PREFIX = "rump___sysimpl_"

VERSIONS = {
    "socket": "socket30",
    "mount": "mount50",
    "stat": "stat50",
    "fstat": "fstat50",
    "lstat": "lstat50",
    "select": "select50",
    "pselect": "pselect50",
    "pollts": "pollts50",
    "kevent": "kevent50",
    "getdents": "getdents30",
    "getfh": "getfh30",
    "mknod": "mknod50",
    "utimes": "utimes50",
    "futimes": "futimes50",
    "lutimes": "lutimes50",
    "nanosleep": "nanosleep50",
    "gettimeofday": "gettimeofday50",
    "settimeofday": "settimeofday50",
    "clock_gettime": "clock_gettime50",
    "clock_settime": "clock_settime50",
    "clock_getres": "clock_getres50",
}

LONG = frozenset(
    (
        *("read", "readv", "pread", "preadv", "recvfrom", "recvmsg"),
        *("write", "writev", "pwrite", "pwritev", "sendto", "sendmsg"),
        *("readlink", "readlinkat", "lseek", "pathconf", "fpathconf"),
        *("getxattr", "lgetxattr", "fgetxattr"),
    )
)
"""Calls whose result is as wide as a pointer (ssize_t, off_t, long)."""


def symbol(name: str) -> str:
    """The symbol of the system call ``name`` (``socket``, ``socket30``)."""
    if name.startswith("rump_"):
        return name
    return PREFIX + VERSIONS.get(name, name)


def result_type(symbol_name: str) -> Any:
    """The ctypes type of what the function returns."""
    wide = symbol_name.removeprefix(PREFIX) in LONG
    return ctypes.c_ssize_t if wide else ctypes.c_int


def failed() -> int:
    """Minus NetBSD's errno of the calling thread's call that returned -1.

    The kernel's own ERESTART (-3, sys/sys/errno.h) is EINTR here: it comes
    through where another thread closed the descriptor that a call slept on.
    """
    number = get_errno()
    return -number if number > 0 else -4


def argument(value: object) -> object:
    """``value`` as ctypes passes it: integers at full width, never cut to int."""
    return ctypes.c_ssize_t(value) if isinstance(value, int) else value
