"""The host side of NetBSD's shmif(4), besides the file hypercalls it uses.

Facts: NetBSD sys/rump/net/lib/libshmif/shmif_user.h and shmif_user.c.
"""

from rumphyper.hypercalls.ctype import ERRNO, INT, OUT_INT, OUT_POINTER, SIZE
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_BAD_FD = Failure(Errno.EBADF, "the descriptor is not open")

CALLS = (
    Hypercall(
        "rumpcomp_shmif_watchsetup",
        ERRNO,
        (
            Argument("handlep", OUT_INT, "-1 or an older watch; gets the watch"),
            Argument("fd", INT, "descriptor of the bus file"),
        ),
        family="shmif",
        summary="watch the bus file for writes",
        errors=(_BAD_FD, Failure(Errno.EMFILE, "no descriptor is left")),
    ),
    Hypercall(
        "rumpcomp_shmif_watchwait",
        ERRNO,
        (Argument("handle", INT, "from rumpcomp_shmif_watchsetup"),),
        family="shmif",
        summary="wait for the next write to the bus file",
        errors=(_BAD_FD,),
        blocks=True,
    ),
    Hypercall(
        "rumpcomp_shmif_mmap",
        ERRNO,
        (
            Argument("fd", INT, "descriptor of the bus file"),
            Argument("len", SIZE, "octets; the file is made that long"),
            Argument("memp", OUT_POINTER, "gets the address"),
        ),
        family="shmif",
        summary="map the bus file, shared with the other interfaces",
        errors=(_BAD_FD, Failure(Errno.ENOMEM, "no address space is left")),
    ),
)
