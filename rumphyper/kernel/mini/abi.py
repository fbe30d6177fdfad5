"""The C interface between a rump kernel and its host, as the kernel sees it.

Declared here once more, from NetBSD's headers and not from the catalogue of
rumphyper.hypercalls: the mini kernel is the judge of that code and shares
nothing with it. Sources: sys/rump/include/rump/rumpuser.h (version 17) and
sys/rump/net/lib/libvirtif/virtif_user.h (revision 20140313) of NetBSD.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    c_char_p,
    c_int,
    c_int64,
    c_long,
    c_size_t,
    c_void_p,
)
from typing import Any

VERSION = 17

# enum rumpclock
RELWALL, ABSMONO = 0, 1
# enum rumplwpop
LWP_CREATE, LWP_DESTROY, LWP_SET, LWP_CLEAR = 0, 1, 2, 3
# mutex flags
MTX_SPIN, MTX_KMUTEX = 1, 2
# enum rumprwlock
RW_READER, RW_WRITER = 0, 1
# rumpuser_getrandom flags
RANDOM_HARD = 1

PARAM_NCPU = b"_RUMPUSER_NCPU"
PARAM_HOSTNAME = b"_RUMPUSER_HOSTNAME"


class Iovec(ctypes.Structure):
    """struct iovec: a piece of a frame."""

    _fields_ = [("base", c_void_p), ("length", c_size_t)]


class Hyperup(ctypes.Structure):
    """struct rumpuser_hyperup: what the host may call in the kernel."""

    _fields_ = [
        ("schedule", c_void_p),
        ("unschedule", c_void_p),
        ("backend_unschedule", c_void_p),
        ("backend_schedule", c_void_p),
        ("lwproc_switch", c_void_p),
        ("lwproc_release", c_void_p),
        ("lwproc_rfork", c_void_p),
        ("lwproc_newlwp", c_void_p),
        ("lwproc_curlwp", c_void_p),
        ("syscall", c_void_p),
        ("lwpexit", c_void_p),
        ("execnotify", c_void_p),
        ("getpid", c_void_p),
        ("spare", c_void_p * 8),
    ]


UPCALLS: dict[str, Any] = {
    "schedule": ctypes.CFUNCTYPE(None),
    "unschedule": ctypes.CFUNCTYPE(None),
    "backend_unschedule": ctypes.CFUNCTYPE(None, c_int, POINTER(c_int), c_void_p),
    "backend_schedule": ctypes.CFUNCTYPE(None, c_int, c_void_p),
    "lwproc_switch": ctypes.CFUNCTYPE(None, c_void_p),
    "lwproc_release": ctypes.CFUNCTYPE(None),
    "lwproc_rfork": ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_char_p),
    "lwproc_newlwp": ctypes.CFUNCTYPE(c_int, c_int),
    "lwproc_curlwp": ctypes.CFUNCTYPE(c_void_p),
    "syscall": ctypes.CFUNCTYPE(c_int, c_int, c_void_p, POINTER(c_long)),
    "lwpexit": ctypes.CFUNCTYPE(None),
    "execnotify": ctypes.CFUNCTYPE(None, c_char_p),
    "getpid": ctypes.CFUNCTYPE(c_int),
}
"""The C type of each upcall, in the order of struct rumpuser_hyperup."""

DELIVER = "rump_virtif_virt_deliverpkt"
"""The kernel's function that takes a received frame."""

DELIVER_TYPE = ctypes.CFUNCTYPE(None, c_void_p, POINTER(Iovec), c_size_t)

THREAD_TYPE = ctypes.CFUNCTYPE(c_void_p, c_void_p)

_OUT_POINTER = POINTER(c_void_p)
_OUT_INT = POINTER(c_int)

# name: (result, parameters). Every name begins with rumpuser_ unless it says
# otherwise; the GIL is released in each call, for the host may wait.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "init": (c_int, c_int, POINTER(Hyperup)),
    "malloc": (c_int, c_size_t, c_int, _OUT_POINTER),
    "free": (None, c_void_p, c_size_t),
    "anonmmap": (c_int, c_void_p, c_size_t, c_int, c_int, _OUT_POINTER),
    "unmap": (None, c_void_p, c_size_t),
    "clock_gettime": (c_int, c_int, POINTER(c_int64), POINTER(c_long)),
    "clock_sleep": (c_int, c_int, c_int64, c_long),
    "getparam": (c_int, c_char_p, c_void_p, c_size_t),
    "seterrno": (None, c_int),
    "putchar": (None, c_int),
    "dprintf": (None, c_char_p),  # variadic
    "getrandom": (c_int, c_void_p, c_size_t, c_int, POINTER(c_size_t)),
    "thread_create": (
        c_int, c_void_p, c_void_p, c_char_p, c_int, c_int, c_int, _OUT_POINTER,
    ),
    "thread_join": (c_int, c_void_p),
    "curlwpop": (None, c_int, c_void_p),
    "curlwp": (c_void_p,),
    "mutex_init": (None, _OUT_POINTER, c_int),
    "mutex_enter": (None, c_void_p),
    "mutex_enter_nowrap": (None, c_void_p),
    "mutex_tryenter": (c_int, c_void_p),
    "mutex_exit": (None, c_void_p),
    "mutex_destroy": (None, c_void_p),
    "mutex_owner": (None, c_void_p, _OUT_POINTER),
    "rw_init": (None, _OUT_POINTER),
    "rw_enter": (None, c_int, c_void_p),
    "rw_tryenter": (c_int, c_int, c_void_p),
    "rw_tryupgrade": (c_int, c_void_p),
    "rw_downgrade": (None, c_void_p),
    "rw_exit": (None, c_void_p),
    "rw_destroy": (None, c_void_p),
    "rw_held": (None, c_int, c_void_p, _OUT_INT),
    "cv_init": (None, _OUT_POINTER),
    "cv_destroy": (None, c_void_p),
    "cv_wait": (None, c_void_p, c_void_p),
    "cv_wait_nowrap": (None, c_void_p, c_void_p),
    "cv_timedwait": (c_int, c_void_p, c_void_p, c_int64, c_int64),
    "cv_signal": (None, c_void_p),
    "cv_broadcast": (None, c_void_p),
    "cv_has_waiters": (None, c_void_p, _OUT_INT),
    "rumpcomp_virt_create": (c_int, c_char_p, c_void_p, c_void_p, _OUT_POINTER),
    "rumpcomp_virt_dying": (c_int, c_void_p),
    "rumpcomp_virt_destroy": (None, c_void_p),
    "rumpcomp_virt_send": (None, c_void_p, c_void_p, c_size_t),
}  # fmt: skip

HYPERCALLS: dict[str, Any] = {
    name if name.startswith("rumpcomp_") else f"rumpuser_{name}": ctypes.CFUNCTYPE(
        *signature, use_errno=name == "seterrno"
    )
    for name, signature in _PROTOTYPES.items()
}
"""The C type of each hypercall that the mini kernel makes, by full name."""

# NetBSD's errno values, sys/sys/errno.h: those this kernel speaks of.
ENOENT, ESRCH, EIO, ENXIO, ENOMEM, EACCES = 2, 3, 5, 6, 12, 13
EBUSY, EEXIST, ENODEV, EINVAL, EAGAIN, ETIMEDOUT = 16, 17, 19, 22, 35, 60

ERRNO_NAMES = {
    1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 5: "EIO", 6: "ENXIO",
    9: "EBADF", 12: "ENOMEM", 13: "EACCES", 14: "EFAULT", 16: "EBUSY",
    17: "EEXIST", 19: "ENODEV", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL",
    23: "ENFILE", 24: "EMFILE", 27: "EFBIG", 28: "ENOSPC", 32: "EPIPE",
    35: "EAGAIN", 45: "EOPNOTSUPP", 49: "EADDRNOTAVAIL", 60: "ETIMEDOUT",
    78: "ENOSYS",
}  # fmt: skip
