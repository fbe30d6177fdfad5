"""Registering at netmap modules from before API 14, which know no NIOCCTRL.

Facts: netmap sys/net/netmap_legacy.h; nmreq_register_from_legacy in
netmap_legacy.c. Old modules take any version from 11 to 15, later ones, which
answer this request as well, none below 14.
"""

from __future__ import annotations

import errno
import os
import re

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.link.netmap_abi import API, LEGACY, LEGACY_FLAGS, NIOCREGIF, Mode
from rumphyper.link.netmap_name import RING_NUMBERS, PortName
from rumphyper.link.netmap_request import register_error

LONGEST = 15
"""Octets of a name."""


def register(
    fd: int,
    name: PortName,
    linkstr: str,
    slots: int,
    rings: int,
    extra_buffers: int,
    flags: int,
) -> tuple[int, int, int, int]:
    """Register a port by NIOCREGIF, with wishes of which 0 leaves one to the kernel.

    Returns the offset of its netmap_if, the octets and the id of its memory
    region and the number of extra buffers. Raises HostError.
    """
    mode, ring, base = int(name.mode), name.ring, name.name
    if name.pipe:  # its end and number are no part of the name here
        base, end, pipe = re.split("([{}])", base)
        if not pipe.isdigit() or int(pipe) >= RING_NUMBERS:
            cause = f"this module takes numbers below {RING_NUMBERS} for pipes"
            raise HostError(linkstr, cause, "use one", errno.EINVAL)
        mode = Mode.PIPE_MASTER if end == "{" else Mode.PIPE_SLAVE
        ring = int(pipe)
    octets = os.fsencode(base)
    if len(octets) > LONGEST:
        cause = f"this module takes names of up to {LONGEST} octets"
        raise HostError(linkstr, cause, "use a shorter one", errno.EINVAL)
    body = bytearray(
        LEGACY.pack(
            octets, API, 0, 0, slots, slots, rings, rings, ring, 0, 0,
            name.memory_id, extra_buffers, mode | flags & LEGACY_FLAGS, 0,
        )
    )  # fmt: skip
    try:
        ioctl(fd, NIOCREGIF, body, linkstr)
    except HostError as error:
        raise register_error(error, linkstr, name.vale) from None
    fields = LEGACY.unpack(body)
    return fields[2], fields[3], fields[11], fields[12]
