"""rumpuser_seterrno: the errno of a system call made in the kernel.

Facts: rumpuser(3); NetBSD lib/librumpuser/rumpuser.c.
"""

from __future__ import annotations

import ctypes

from rumphyper.host.libc import libc
from rumphyper.hypercalls.family import Family


class SetErrno(Family):
    """Stores into the calling thread's C errno, in NetBSD's numbers.

    Through errno's address: a callback's `ctypes.set_errno` would only reach
    ctypes' own copy, which ctypes exchanges again on return.
    """

    family = "errno"

    def __init__(self) -> None:
        self._location = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_int))(
            ("__errno_location", libc())
        )

    def seterrno(self, number: int) -> None:
        """Set errno; the number stays NetBSD's, as callers expect."""
        self._location()[0] = number
