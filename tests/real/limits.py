"""Letting a process run short of memory, descriptors or threads."""

from __future__ import annotations

import ctypes
import os
import resource

ALONE = 2_000_000_000
"""The users from here on have no processes but those of these tests."""

LIMITS = {
    "memory": resource.RLIMIT_AS,
    "descriptors": resource.RLIMIT_NOFILE,
    "threads": resource.RLIMIT_NPROC,
}


def now_used(what: str) -> int:
    """What the process has of it, in the limit's unit."""
    if what == "memory":
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    if what == "threads":
        return len(os.listdir("/proc/self/task"))
    lowest = os.dup(0)  # the next one would be this
    os.close(lowest)
    return lowest


def limit(what: str, more: int) -> None:
    """Allow so much more than there is now."""
    if what == "threads":
        heed_limits()
    hard = resource.getrlimit(LIMITS[what])[1]
    resource.setrlimit(LIMITS[what], (now_used(what) + more, hard))


def heed_limits() -> None:
    """Be a user that RLIMIT_NPROC holds for, and still read every file.

    That is one whose real user is not root, without CAP_SYS_ADMIN (21) and
    CAP_SYS_RESOURCE (24): see copy_process in Linux' kernel/fork.c.
    """
    os.setresuid(ALONE + os.getpid(), 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capget(header, data)
    data[0] &= ~(1 << 21 | 1 << 24)
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())
