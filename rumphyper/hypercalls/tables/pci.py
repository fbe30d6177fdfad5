"""The host side of NetBSD's PCI bus in a rump kernel.

Facts: NetBSD sys/rump/dev/lib/libpci/pci_user.h, rumpdev_pci.c,
rumpdev_bus_dma.c, rumpdev_bus_space.c.
"""

from rumphyper.hypercalls.ctype import (
    DMA_SEGMENTS,
    ERRNO,
    INT,
    INTERRUPT_HANDLER,
    OUT_POINTER,
    OUT_UNSIGNED,
    OUT_UNSIGNED_LONG,
    POINTER,
    SIZE,
    UNSIGNED,
    UNSIGNED_LONG,
    VOID,
)
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.record import Argument, Failure, Hypercall

_SLOT = (
    Argument("bus", UNSIGNED, "PCI bus"),
    Argument("dev", UNSIGNED, "device on the bus, 0 to 31"),
    Argument("fun", UNSIGNED, "function of the device, 0 to 7"),
)
_REGISTER = Argument("reg", INT, "offset in configuration space, 32-bit aligned")
_ABSENT = (Failure(Errno.ENODEV, "there is no such device"),)
_NO_MEMORY = (Failure(Errno.ENOMEM, "no DMA memory is left"),)

CALLS = (
    Hypercall(
        "rumpcomp_pci_iospace_init",
        ERRNO,
        (),
        family="pci",
        summary="permit access to I/O ports (components built with IOSPACE)",
        errors=(Failure(Errno.EPERM, "the host does not permit it"),),
    ),
    Hypercall(
        "rumpcomp_pci_map",
        POINTER,
        (
            Argument("addr", UNSIGNED_LONG, "bus address: a BAR's value"),
            Argument("len", UNSIGNED_LONG, "octets"),
        ),
        family="pci",
        summary="map registers of a device",
        returns="their address, NULL where that failed",
    ),
    Hypercall(
        "rumpcomp_pci_confread",
        ERRNO,
        (
            *_SLOT,
            _REGISTER,
            Argument("valuep", OUT_UNSIGNED, "gets 32 bits, all ones if absent"),
        ),
        family="pci",
        summary="read configuration space",
        errors=_ABSENT,
        failure=Errno.ENODEV,
    ),
    Hypercall(
        "rumpcomp_pci_confwrite",
        ERRNO,
        (*_SLOT, _REGISTER, Argument("value", UNSIGNED, "32 bits")),
        family="pci",
        summary="write configuration space",
        errors=_ABSENT,
        failure=Errno.ENODEV,
    ),
    Hypercall(
        "rumpcomp_pci_irq_map",
        ERRNO,
        (
            *_SLOT,
            Argument("line", INT, "interrupt line"),
            Argument("cookie", UNSIGNED, "the kernel's name for this interrupt"),
        ),
        family="pci",
        summary="name a device's interrupt",
        returns="0 or an errno; the kernel does not look",
        errors=_ABSENT,
        failure=Errno.ENODEV,
    ),
    Hypercall(
        "rumpcomp_pci_irq_establish",
        POINTER,
        (
            Argument("cookie", UNSIGNED, "from rumpcomp_pci_irq_map"),
            Argument("handler", INTERRUPT_HANDLER, "called for each interrupt"),
            Argument("data", POINTER, "its argument"),
        ),
        family="pci",
        summary="call a handler when the interrupt fires",
        returns="a handle, NULL where that failed",
    ),
    Hypercall(
        "rumpcomp_pci_dmalloc",
        ERRNO,
        (
            Argument("size", SIZE, "octets, contiguous on the bus"),
            Argument("align", SIZE, "octets"),
            Argument("pap", OUT_UNSIGNED_LONG, "gets the bus address"),
            Argument("vap", OUT_UNSIGNED_LONG, "gets the address here"),
        ),
        family="pci",
        summary="allocate memory that devices can reach",
        errors=_NO_MEMORY,
        failure=Errno.ENOMEM,
    ),
    Hypercall(
        "rumpcomp_pci_dmafree",
        VOID,
        (
            Argument("va", UNSIGNED_LONG, "from rumpcomp_pci_dmalloc"),
            Argument("size", SIZE, "octets"),
        ),
        family="pci",
        summary="free such memory (components built with DMAFREE)",
    ),
    Hypercall(
        "rumpcomp_pci_dmamem_map",
        ERRNO,
        (
            Argument("dss", DMA_SEGMENTS, "bus address, length, address here of each"),
            Argument("nseg", SIZE, "how many segments"),
            Argument("totlen", SIZE, "octets of all"),
            Argument("vap", OUT_POINTER, "gets one address for all"),
        ),
        family="pci",
        summary="make DMA segments one run of addresses",
        errors=_NO_MEMORY,
        failure=Errno.ENOMEM,
    ),
    Hypercall(
        "rumpcomp_pci_virt_to_mach",
        UNSIGNED_LONG,
        (Argument("va", POINTER, "any address of the kernel's memory"),),
        family="pci",
        summary="the bus address of memory",
        returns="the bus address",
    ),
)
