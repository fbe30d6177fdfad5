"""Starting up and memory: rumpuser_init, malloc, anonmmap and their opposites.

Facts: NetBSD sys/rump/include/rump/rumpuser.h, lib/librumpuser/rumpuser.c and
rumpuser_mem.c.
"""

from rumphyper.hypercalls.ctype import (
    ERRNO,
    HYPERUP,
    INT,
    OUT_POINTER,
    POINTER,
    SIZE,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

CALLS = (
    Hypercall(
        "rumpuser_init",
        ERRNO,
        (
            Argument("version", INT, "the RUMPUSER_VERSION of the kernel"),
            Argument("hyp", HYPERUP, "table of the upcalls into the kernel, copied"),
        ),
        family="init",
        summary="the kernel's first call: check versions and keep the upcalls",
        errors=(Failure(Errno.EINVAL, "no upcall table"),),
        failure=Errno.EINVAL,
    ),
    Hypercall(
        "rumpuser_malloc",
        ERRNO,
        (
            Argument("howmuch", SIZE, "octets"),
            Argument("alignment", INT, "power of two, octets; 0: that of a pointer"),
            Argument("memp", OUT_POINTER, "gets the address, NULL on failure"),
        ),
        family="memory",
        summary="allocate aligned memory",
        errors=(Failure(Errno.ENOMEM, "the host has no memory left"),),
        failure=Errno.ENOMEM,
    ),
    Hypercall(
        "rumpuser_free",
        VOID,
        (
            Argument("mem", POINTER, "what rumpuser_malloc gave; NULL is ignored"),
            Argument("len", SIZE, "the octets asked for then"),
        ),
        family="memory",
        summary="give back what rumpuser_malloc gave",
    ),
    Hypercall(
        "rumpuser_anonmmap",
        ERRNO,
        (
            Argument("prefaddr", POINTER, "wanted address; NULL: any"),
            Argument("size", SIZE, "octets"),
            Argument("alignbit", INT, "align to 2 ** alignbit octets; 0: to a page"),
            Argument("exec", INT, "non-zero: code may run in it"),
            Argument("memp", OUT_POINTER, "gets the address"),
        ),
        family="memory",
        summary="map zeroed pages",
        errors=(
            Failure(Errno.ENOMEM, "the host has no memory or address space left"),
            Failure(Errno.EINVAL, "a size of 0"),
        ),
        failure=Errno.ENOMEM,
    ),
    Hypercall(
        "rumpuser_unmap",
        VOID,
        (
            Argument("addr", POINTER, "the first page"),
            Argument("len", SIZE, "octets"),
        ),
        family="memory",
        summary="unmap pages of rumpuser_anonmmap or of a mapped file",
    ),
)
