"""Asking /dev/netmap: the device, requests and their options, what errors mean.

Facts: netmap sys/net/netmap.h; netmap_ioctl and netmap_get_na in netmap.c,
netmap_ioctl_legacy in netmap_legacy.c.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.host.libc import address, from_oserror, pin
from rumphyper.link.netmap_abi import (
    API,
    DEVICE,
    HEADER,
    NAME_SIZE,
    NIOCCTRL,
    OPTION,
    Request,
)

PARAMETERS = (
    "/sys/module/netmap/parameters/" if sys.platform == "linux" else "dev.netmap."
)
"""Where what netmap's memory is made of is set."""

DENIED = (errno.EACCES, errno.EPERM)
NO_SUCH_CALL = (errno.ENOTTY, errno.EOPNOTSUPP)
"""What a module that is older than NIOCCTRL answers to it."""


def open_device(thing: str) -> int:
    """Open /dev/netmap; the caller closes the descriptor. HostError says why not."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            cause = f"there is no {DEVICE}: the kernel module netmap is not loaded"
            remedy = "build it for this kernel and load it: modprobe netmap"
            raise HostError(thing, cause, remedy, error.errno) from None
        remedy = f"run as root, or have {DEVICE} made readable and writable for you"
        raise from_oserror(error, f"{thing}: {DEVICE}", remedy) from None


def control(
    fd: int,
    request: Request,
    name: str,
    body: bytearray | None = None,
    options: Sequence[bytearray] = (),
    thing: str = "",
) -> str:
    """Make a NIOCCTRL request; ``body`` and ``options`` come back changed.

    Each option begins with an `OPTION`, whose chain is written here. Returns the
    name that the kernel gives back. Raises HostError, named ``thing`` or the
    port; where an option was refused it says which.
    """
    following = 0
    held = []
    for option in reversed(options):
        _, kind, _, size = OPTION.unpack_from(option)
        OPTION.pack_into(option, 0, following, kind, 0, size)
        held.append(pin(option))
        following = address(option)
    where = 0
    if body is not None:
        held.append(pin(body))
        where = address(body)
    octets = os.fsencode(name)
    assert len(octets) < NAME_SIZE, "the names' grammar limits them"
    header = bytearray(HEADER.pack(API, request, 0, octets, following, where))
    try:
        ioctl(fd, NIOCCTRL, header, thing or name)
    except HostError as error:
        for option in options:
            _, kind, status, _ = OPTION.unpack_from(option)
            if status:
                cause = f"option {kind} is refused: {os.strerror(status)}"
                raise HostError(error.thing, cause, "", status) from None
        raise
    return os.fsdecode(HEADER.unpack(header)[3].rstrip(b"\0"))


def register_error(error: HostError, name: str, private: bool) -> HostError:
    """What a refused registration means.

    ``private``: the port has a memory region of its own (VALE ports and pipes
    of theirs). The result has the errno.
    """
    number = error.errno
    prefix = "priv_" if private else ""
    thing = error.thing
    cause, remedy = error.cause, "the kernel's log (dmesg) may say more"
    if number == errno.ENXIO:
        cause = "there is no interface of that name, or no such ring"
        remedy = "`ip link` lists the interfaces; VALE ports are written vale0:NAME"
    elif number == errno.EBUSY:
        cause = f"{name} is busy: somebody has it exclusively, or a switch has it"
        remedy = "close it there, or detach it: rumphyper vale -d"
    elif number == errno.ENOMEM:
        cause = "netmap's memory region is exhausted"
        remedy = (
            f"close other ports, ask for fewer slots or buffers, or raise "
            f"{PARAMETERS}{prefix}buf_num, {prefix}ring_num or {prefix}if_num while "
            "no port is open"
        )
    elif number == errno.EINVAL:
        cause = (
            "the module refuses the request: a ring or memory region that is not "
            f"there, flags that do not go together, or another API than {API}"
        )
    elif number in DENIED:
        remedy = "run as root"
    return HostError(thing, cause, remedy, number)
