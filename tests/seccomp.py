"""A seccomp filter that refuses one system call, as container runtimes do."""

from __future__ import annotations

import ctypes
import errno as errnos
import os
import struct

from rumphyper.host.libc import check, libc

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
LD_W_ABS, JEQ_K, RET_K = 0x20, 0x15, 0x06
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def refuse(number: int, errno: int) -> None:
    """Let a system call fail with ``errno`` from now on, in this process."""
    instructions = (
        (LD_W_ABS, 0, 0, 0),
        (JEQ_K, 0, 1, number),
        (RET_K, 0, 0, RET_ERRNO | errno),
        (RET_K, 0, 0, RET_ALLOW),
    )
    code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    room = ctypes.create_string_buffer(code, len(code))
    program = Program(len(instructions), ctypes.addressof(room))
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    check(libc().prctl(PR_SET_NO_NEW_PRIVS, one, none, none, none), "no_new_privs")
    mode = ctypes.c_ulong(SECCOMP_MODE_FILTER)
    check(
        libc().prctl(PR_SET_SECCOMP, mode, ctypes.byref(program), none, none), "seccomp"
    )


def refuse_threads() -> None:
    """Let there be no further thread and no further process: EAGAIN."""
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    clone3 = 435  # on every architecture
    for number in (clone, clone3):
        refuse(number, errnos.EAGAIN)
