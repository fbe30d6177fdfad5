"""System calls by name: those that libc has no function for, or not always.

Numbers are the kernel's uapi headers (asm/unistd.h of each architecture). From
424 on all but alpha use the same ones, mips adding the base of its ABI.
"""

from __future__ import annotations

import ctypes

from rumphyper.errors import UnsupportedError
from rumphyper.host.arch import abi
from rumphyper.host.libc import check, libc

_COMMON = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "move_mount": 429,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "epoll_pwait2": 441,
}

_MIPS_BASE = {"mips64": 5000, "mips": 4000}

_GENERIC = ("aarch64", "riscv64", "loongarch64")
_COLUMNS = ("x86_64", "i386", "generic", "arm", "ppc64le", "s390x", "mips64")
# One column for each of _COLUMNS; mips64 is the n64 ABI, ppc64 is as ppc64le.
_OLDER = {
    "bpf": (321, 357, 280, 386, 361, 351, 5315),
    "eventfd2": (290, 328, 19, 356, 314, 323, 5284),
    "finit_module": (313, 350, 273, 379, 353, 344, 5307),
    "futex": (202, 240, 98, 240, 221, 238, 5194),
    "get_robust_list": (274, 312, 100, 339, 299, 305, 5269),
    "getrandom": (318, 355, 278, 384, 359, 349, 5313),
    "gettid": (186, 224, 178, 224, 207, 236, 5178),
    "membarrier": (324, 375, 283, 389, 365, 356, 5318),
    "memfd_create": (319, 356, 279, 385, 360, 350, 5314),
    "mount": (165, 21, 40, 21, 21, 21, 5160),
    "perf_event_open": (298, 336, 241, 364, 319, 331, 5292),
    "pivot_root": (155, 217, 41, 218, 203, 217, 5151),
    "process_vm_readv": (310, 347, 270, 376, 351, 340, 5304),
    "process_vm_writev": (311, 348, 271, 377, 352, 341, 5305),
    "recvmmsg": (299, 337, 243, 365, 343, 357, 5294),
    "seccomp": (317, 354, 277, 383, 358, 348, 5312),
    "sendmmsg": (307, 345, 269, 374, 349, 358, 5302),
    "setns": (308, 346, 268, 375, 350, 339, 5303),
    "tgkill": (234, 270, 131, 268, 250, 241, 5225),
    "umount2": (166, 52, 39, 52, 52, 52, 5161),
    "unshare": (272, 310, 97, 337, 282, 303, 5262),
}

ABIS = ("x86_64", "i386", *_GENERIC, "arm", "ppc64le", "ppc64", "s390x", "mips64")
"""The ABIs whose numbers are all here."""

NAMES = tuple(sorted({*_COMMON, *_OLDER}))
"""The system calls known by name."""


def number(name: str, machine: str | None = None) -> int:
    """The number of a system call on an ABI (default: ours).

    Raises UnsupportedError when the call or the ABI is not in the tables.
    """
    machine = abi() if machine is None else machine
    if name in _COMMON and machine != "alpha":
        return _COMMON[name] + _MIPS_BASE.get(machine, 0)
    column = "generic" if machine in _GENERIC else machine
    column = "ppc64le" if column == "ppc64" else column
    if name not in _OLDER or column not in _COLUMNS:
        cause = f"no number known on {machine}"
        remedy = "look it up in the kernel's asm/unistd.h and pass it on"
        raise UnsupportedError(f"system call {name}", cause, remedy)
    return _OLDER[name][_COLUMNS.index(column)]


def syscall(
    name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None
) -> int:
    """Make a system call and return its result.

    Integers are passed as machine words, addresses among them; bytes and
    ctypes buffers by their address, None as null. Raises HostError with the
    errno when the kernel refuses, UnsupportedError when the call has no number.
    Releases the GIL.
    """
    words = [
        ctypes.c_long(argument) if isinstance(argument, int) else argument
        for argument in arguments
    ]
    call = libc().syscall
    call.restype = ctypes.c_long
    result: int = call(ctypes.c_long(number(name)), *words)
    return check(result, name, "see its manual page, section 2")
