"""Where a host keeps Xen's device nodes, and what kind of domain it is.

Facts: Linux drivers/xen/xenfs/super.c, drivers/xen/sys-hypervisor.c; Xen
xen/include/public/features.h (XENFEAT_dom0); NetBSD kernfs (sys/arch/xen/xen,
/kern/xen) and MAKEDEV (xenevt).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Literal

from rumphyper.errors import HostError

XENBUS = "/dev/xen/xenbus"
GNTALLOC = "/dev/xen/gntalloc"
GNTDEV = "/dev/xen/gntdev"
EVTCHN = "/dev/xen/evtchn"
PRIVCMD = "/dev/xen/privcmd"

SOCKETS = ("/run/xenstored/socket", "/var/run/xenstored/socket")
"""Where xenstored listens in its own domain."""

NETBSD_XENBUS = "/kern/xen/xenbus"
"""NetBSD's name of it."""

MODULES = {
    XENBUS: "xenfs",
    GNTALLOC: "xen-gntalloc",
    GNTDEV: "xen-gntdev",
    EVTCHN: "xen-evtchn",
    PRIVCMD: "xen-privcmd",
}
"""The module that makes each node (xenbus needs none: it is part of the kernel)."""

DOM0_FEATURE = 11
HYPERVISOR = "/sys/hypervisor"

DomainKind = Literal["none", "dom0", "domU"]


def domain_kind(root: str = HYPERVISOR) -> DomainKind:
    """Whether this kernel runs on Xen, and whether as the first domain.

    ``root`` is the hypervisor's folder of sysfs.
    """
    if _text(f"{root}/type") != "xen":
        return "none"
    try:
        features = int(_text(f"{root}/properties/features"), 16)
    except ValueError:
        return "dom0" if "control_d" in _text("/proc/xen/capabilities") else "domU"
    return "dom0" if features >> DOM0_FEATURE & 1 else "domU"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def open_node(path: str) -> int:
    """Open a device node, without waiting in reads. HostError says what to do."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        number = error.errno or 0
        cause = error.strerror or str(error)
        if number in (errno.EACCES, errno.EPERM):
            raise HostError(path, cause, "run as root", number) from None
        if domain_kind() == "none":
            cause += "; this kernel does not run on Xen"
            remedy = "boot it as a Xen guest, or as dom0"
        else:
            remedy = f"load its module: modprobe {MODULES.get(path, 'xenfs')}"
        raise HostError(path, cause, remedy, number) from None
