"""Hypercalls by /dev/xen/privcmd: which version of Xen this is, and no more.

Facts: Linux drivers/xen/privcmd.c; Xen public/version.h.
"""

from __future__ import annotations

import os

from rumphyper.host.ioctl import ioctl
from rumphyper.xen import abi
from rumphyper.xen.nodes import PRIVCMD, open_node


def xen_version(node: str = PRIVCMD) -> tuple[int, int]:
    """Xen's major and minor version. Raises HostError."""
    fd = open_node(node)
    try:
        argument = bytearray(
            abi.HYPERCALL.pack(
                abi.HYPERVISOR_XEN_VERSION, abi.XENVER_VERSION, 0, 0, 0, 0
            )
        )
        found = ioctl(fd, abi.PRIVCMD_HYPERCALL, argument, "hypercall xen_version")
    finally:
        os.close(fd)
    return found >> 16, found & 0xFFFF
