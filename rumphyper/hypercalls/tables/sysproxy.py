"""The syscall proxy: system calls of other processes, served by this kernel.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, lib/librumpuser/rumpuser_sp.c.
"""

from rumphyper.hypercalls.ctype import (
    CONST_POINTER,
    ERRNO,
    INT,
    OUT_POINTER,
    OUT_SIZE,
    POINTER,
    SIZE,
    STRING,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_CLIENT = Argument("arg", POINTER, "the client, as the kernel was given it")
_FROM_CLIENT = Argument("raddr", CONST_POINTER, "address in the client")
_TO_CLIENT = Argument("raddr", POINTER, "address in the client")
_LOCAL = Argument("laddr", POINTER, "address here")
_FAULT = (Failure(Errno.EFAULT, "the client refused or has gone"),)

CALLS = (
    Hypercall(
        "rumpuser_sp_init",
        ERRNO,
        (
            Argument("url", STRING, "where to listen: unix://PATH or tcp://HOST:PORT"),
            Argument("ostype", STRING, "the kernel's name"),
            Argument("osrelease", STRING, "its release"),
            Argument("machine", STRING, "its architecture"),
        ),
        family="sysproxy",
        summary="start serving system calls to other processes",
        errors=(
            Failure(Errno.EINVAL, "a URL that does not parse"),
            Failure(Errno.EACCES, "an address of more than this host"),
            Failure(Errno.EADDRINUSE, "somebody listens there"),
            Failure(Errno.EALREADY, "it serves already"),
            Failure(Errno.ENXIO, "the kernel does not run yet"),
        ),
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_sp_copyin",
        ERRNO,
        (_CLIENT, _FROM_CLIENT, _LOCAL, Argument("len", SIZE, "octets")),
        family="sysproxy",
        summary="copy memory of a client to the kernel",
        errors=_FAULT,
        blocks=True,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_copyinstr",
        ERRNO,
        (
            _CLIENT,
            _FROM_CLIENT,
            _LOCAL,
            Argument("len", OUT_SIZE, "room here, then the octets copied"),
        ),
        family="sysproxy",
        summary="copy a string of a client to the kernel",
        errors=_FAULT,
        blocks=True,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_copyout",
        ERRNO,
        (
            _CLIENT,
            Argument("laddr", CONST_POINTER, "address here"),
            _TO_CLIENT,
            Argument("len", SIZE, "octets"),
        ),
        family="sysproxy",
        summary="copy memory of the kernel to a client",
        errors=_FAULT,
        blocks=True,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_copyoutstr",
        ERRNO,
        (
            _CLIENT,
            Argument("laddr", CONST_POINTER, "address here"),
            _TO_CLIENT,
            Argument("len", OUT_SIZE, "room there, then the octets copied"),
        ),
        family="sysproxy",
        summary="copy a string of the kernel to a client",
        errors=_FAULT,
        blocks=True,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_anonmmap",
        ERRNO,
        (
            _CLIENT,
            Argument("howmuch", SIZE, "octets"),
            Argument("addr", OUT_POINTER, "gets the address in the client"),
        ),
        family="sysproxy",
        summary="map zeroed pages in a client",
        errors=_FAULT,
        blocks=True,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_raise",
        ERRNO,
        (_CLIENT, Argument("signo", INT, "a NetBSD signal number")),
        family="sysproxy",
        summary="raise a signal in a client",
        errors=_FAULT,
        failure=Errno.EFAULT,
    ),
    Hypercall(
        "rumpuser_sp_fini",
        VOID,
        (Argument("arg", POINTER, "the client to tell; NULL: none"),),
        family="sysproxy",
        summary="stop serving",
    ),
)
