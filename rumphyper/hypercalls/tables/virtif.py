"""The host side of NetBSD's virt(4) interface.

Facts: NetBSD sys/rump/net/lib/libvirtif/virtif_user.h (VIFHYPER_REVISION
20140313) and if_virt.h, compiled with VIRTIF=virt.
"""

from rumphyper.hypercalls.ctype import (
    ERRNO,
    MAC_ADDRESS,
    OUT_VIRTIF_USER,
    SIZE,
    STRING,
    VIRTIF_IOVEC,
    VIRTIF_SOFTC,
    VIRTIF_USER,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_USER = Argument("user", VIRTIF_USER, "what rumpcomp_virt_create gave")

DELIVER = "rump_virtif_virt_deliverpkt"
"""The upcall that takes a received frame: (softc, iovecs, how many)."""

CALLS = (
    Hypercall(
        "rumpcomp_virt_create",
        ERRNO,
        (
            Argument("devstr", STRING, "unit number, or a linkstr"),
            Argument("sc", VIRTIF_SOFTC, "the interface, for deliverpkt"),
            Argument("enaddr", MAC_ADDRESS, "6 octets: proposed MAC, may be changed"),
            Argument("viup", OUT_VIRTIF_USER, "gets the handle for the other calls"),
        ),
        family="virtif",
        summary="connect an interface to its link and start receiving",
        errors=(
            Failure(Errno.ENXIO, "the link cannot be opened"),
            Failure(Errno.EBUSY, "somebody else has it"),
        ),
        blocks=True,
        failure=Errno.ENXIO,
    ),
    Hypercall(
        "rumpcomp_virt_dying",
        ERRNO,
        (_USER,),
        family="virtif",
        summary="stop receiving; the interface is about to go",
        blocks=True,
        failure=Errno.ENXIO,
    ),
    Hypercall(
        "rumpcomp_virt_destroy",
        VOID,
        (_USER,),
        family="virtif",
        summary="wait for the receiver and close the link",
        blocks=True,
    ),
    Hypercall(
        "rumpcomp_virt_send",
        VOID,
        (
            _USER,
            Argument("iov", VIRTIF_IOVEC, "the parts of one Ethernet frame"),
            Argument("iovlen", SIZE, "elements of the array"),
        ),
        family="virtif",
        summary="send one frame; what cannot be sent is dropped",
        blocks=True,
    ),
)
