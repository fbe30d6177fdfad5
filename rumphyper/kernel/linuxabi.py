"""Clients of the syscall proxy that are programs of Linux.

librumphijack hands a program's calls on as they are: with NetBSD's numbers of
system calls, but Linux's constants, structures and errno. NetBSD's own
component ``sys_linux`` understands those (sys/rump/kern/lib/libsys_linux,
sys/compat/linux). Loaded before the kernel starts it would make every process
one of Linux, also the one that this Python is; so it is loaded afterwards, and
the kernel told whose calls a process makes when it makes one for a client.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Any

from rumphyper.errors import LibraryError
from rumphyper.hypercalls.errno import to_host
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.upcalls import Upcalls
from rumphyper.kernel.libraries import Libraries

COMPONENT = "sys_linux"
HIJACK = b"librumphijack"
CALLS = 512
"""Entries of its table of system calls (SYS_NSYSENT); nobody checks the number."""

ENOSYS = 38
"""Linux's."""

_UCRED = struct.Struct("=iII")


class Emulation:
    """Which kind of processes the kernel makes: NetBSD's or Linux's.

    ``kernel`` finds all symbols of the kernel. Raises LibraryError when the
    component is missing, or other ones that it needs.
    """

    def __init__(self, kernel: ctypes.CDLL) -> None:
        path = Libraries().find(COMPONENT).path
        try:
            component = ctypes.CDLL(path)
        except OSError as error:
            raise LibraryError(
                path, str(error), "load the components net, netinet and vfs too"
            ) from None
        self._default = ctypes.c_void_p.in_dll(kernel, "rumpns_emul_default")
        self._netbsd = self._default.value
        self._linux = ctypes.addressof(
            ctypes.c_char.in_dll(component, "rumpns_emul_rump_sys_linux")
        )
        self._kept = component

    def netbsd(self) -> None:
        """Processes that are made from now on are NetBSD's."""
        self._default.value = self._netbsd

    def linux(self) -> None:
        """Processes that are made from now on are Linux's."""
        self._default.value = self._linux


def linux_abi(kernel: ctypes.CDLL, upcalls: Upcalls, emulation: Emulation) -> Abi:
    """How to make calls for processes that are Linux's."""
    # Unlike the upcall it looks at the process's emulation; and it gets a
    # virtual CPU by itself.
    make = ctypes.CFUNCTYPE(
        *(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_long),
    )(("rump_syscall", kernel))

    def syscall(number: int, args: bytes, returned: Any) -> int:
        if not 0 < number < CALLS:
            return ENOSYS
        upcalls.unschedule()
        error: int = make(number, args, len(args), returned)
        upcalls.schedule()
        return error

    return Abi(syscall, to_host, emulation.linux)


def is_hijacked(sock: socket.socket) -> bool:
    """Whether a client on this host is a program that librumphijack brings here.

    Such a program is always Linux's. False where that cannot be found out: over
    TCP, and for processes that may not be looked at.
    """
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, _, _ = _UCRED.unpack(peer)
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:
            return HIJACK in maps.read()
    except OSError:
        return False
