"""Settings: how many virtual CPUs, which host name, environment variables.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c, rumpuser_port.h.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Mapping

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.family import Family

NCPU = "_RUMPUSER_NCPU"
HOSTNAME = "_RUMPUSER_HOSTNAME"
DEFAULT_NCPU = "2"


class Param(Family):
    """Answers from ``settings`` first, then from the process's environment.

    ``settings`` has the kernel's variables (RUMP_NCPU, RUMP_VERBOSE, ...); a
    value of None hides a variable of the environment. ``RUMP_NCPU=host`` means
    as many as the host has.
    """

    family = "param"

    def __init__(self, settings: Mapping[str, str | None] | None = None) -> None:
        self.settings = dict(settings or {})

    def value(self, name: str) -> str | None:
        """The variable ``name``, or None."""
        if name in self.settings:
            return self.settings[name]
        return os.environ.get(name)

    def getparam(self, name: bytes | None, buf: int, buflen: int) -> int:
        """Put the value of ``name`` into a buffer of ``buflen`` octets."""
        key = os.fsdecode(name or b"")
        if key == NCPU:
            return self._ncpu(buf, buflen)
        if key == HOSTNAME:
            text = f"rump-{os.getpid():05d}.{socket.gethostname()}"
            return _store(os.fsencode(text)[: max(0, buflen - 1)], buf, buflen)
        if key.startswith("_"):
            return Errno.EINVAL
        found = self.value(key)
        if found is None:
            return Errno.ENOENT
        return _store(os.fsencode(found), buf, buflen)

    def _ncpu(self, buf: int, buflen: int) -> int:
        wanted = self.value("RUMP_NCPU")
        if wanted == "host":
            wanted = str(os.cpu_count() or 1)
        if wanted is None or len(wanted) >= buflen:
            wanted = DEFAULT_NCPU
        return _store(wanted.encode(), buf, buflen)


def _store(value: bytes, buf: int, buflen: int) -> int:
    """Copy a string with its NUL; ERANGE when there is no room for both."""
    if len(value) >= buflen:
        return Errno.ERANGE
    ctypes.memmove(buf, value + b"\0", len(value) + 1)
    return 0
