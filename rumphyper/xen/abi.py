"""Requests to the device nodes of Xen on Linux: numbers and layouts.

Facts: Linux include/uapi/xen/evtchn.h, gntalloc.h, gntdev.h, privcmd.h; Xen
xen/include/public/grant_table.h (GNTCOPY_*, GNTST_*). All requests are of the
kind that tells of no direction.
"""

from __future__ import annotations

import struct

from rumphyper.host.ioctl import layout

PAGE = 4096
"""Octets of a grant."""


def _request(kind: str, number: int, size: int) -> int:
    here = layout()
    return here.encode(here.none, ord(kind), number, size)


ALLOC = struct.Struct("=HHIQ")
"""domain id, flags, count, (out) index; behind it come the references."""
DEALLOC = struct.Struct("=QI4x")
"""index, count. The layout of an unmap request of gntdev, too."""
NOTIFY_UNMAP = struct.Struct("=QII")
"""index (an octet of a mapping), action, event channel."""
MAP = struct.Struct("=I4xQ")
"""count, (out) index; behind it come `MAP_REF`s."""
MAP_REF = struct.Struct("=II")
"""domain id, reference."""
COPY = struct.Struct("=I4xQ")
"""count, address of the segments."""
COPY_FROM = struct.Struct("=IHHQHHh2x")
"""reference, offset, domain id; address; octets, flags, (out) status."""
COPY_TO = struct.Struct("=QIHHHHh2x")
"""address; reference, offset, domain id; octets, flags, (out) status."""
COPY_STATUS = 20
"""Where the status is in a segment of 24 octets."""
PORT = struct.Struct("=I")
INTERDOMAIN = struct.Struct("=II")
"""domain id, its port."""
HYPERCALL = struct.Struct("=6Q")
"""number, five arguments."""

GNTALLOC_ALLOC = _request("G", 5, 24)
GNTALLOC_DEALLOC = _request("G", 6, DEALLOC.size)
GNTDEV_MAP = _request("G", 0, 24)
GNTDEV_UNMAP = _request("G", 1, DEALLOC.size)
UNMAP_NOTIFY = _request("G", 7, NOTIFY_UNMAP.size)
"""Of gntalloc and gntdev alike."""
GNTDEV_COPY = _request("G", 8, COPY.size)
BIND_INTERDOMAIN = _request("E", 1, INTERDOMAIN.size)
BIND_UNBOUND = _request("E", 2, PORT.size)
UNBIND = _request("E", 3, PORT.size)
NOTIFY = _request("E", 4, PORT.size)
PRIVCMD_HYPERCALL = _request("P", 0, HYPERCALL.size)

WRITABLE = 1
"""Flag of an allocation."""
CLEAR_BYTE, SEND_EVENT = 1, 2
"""Actions of an unmap notification."""
SOURCE_IS_GRANT, TARGET_IS_GRANT = 1, 2
"""Flags of a segment that is copied."""

HYPERVISOR_XEN_VERSION, XENVER_VERSION = 17, 0
"""Xen, public/xen.h and public/version.h."""
