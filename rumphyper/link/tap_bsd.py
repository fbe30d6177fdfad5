"""TAP devices of NetBSD and FreeBSD: the character device /dev/tapN.

Opening the device makes the interface of the same name on FreeBSD; on NetBSD
it is made before, by ``ifconfig tapN create``. Facts: NetBSD's tap(4), FreeBSD's
tap(4), and NetBSD sys/rump/net/lib/libvirtif/virtif_user.c, which opens the
same file. This code has been read against those pages and has not been run.
"""

from __future__ import annotations

import errno
import os
import re

from rumphyper.errors import HostError, LinkstrError, UnsupportedError
from rumphyper.host.libc import from_oserror
from rumphyper.link.base import ETHER_MTU
from rumphyper.link.tap_options import Options

ONLY_LINUX = (
    "host_mac",
    "mtu",
    "up",
    "persistent",
    "owner",
    "group",
    "netns",
    "queues",
)


def open_device(name: str, options: Options) -> tuple[int, int]:
    """Return a non-blocking descriptor of /dev/NAME, and the MTU.

    Raises LinkstrError, UnsupportedError for options that only Linux has, and
    HostError.
    """
    linkstr = f"tap:{name}"
    if not re.fullmatch(r"tap\d{1,5}", name):
        raise LinkstrError(linkstr, "the name is not tapN", "use tap0, tap1 ...")
    for option in ONLY_LINUX:
        if getattr(options, option):
            remedy = "use ifconfig(8) and the device file's owner instead"
            raise UnsupportedError(linkstr, f"{option} is there on Linux only", remedy)
    if options.io == "uring":
        raise UnsupportedError(linkstr, "io_uring is there on Linux only", "io='plain'")
    path = f"/dev/{name}"
    try:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(path, flags), ETHER_MTU
    except OSError as error:
        if error.errno == errno.EBUSY:
            cause = "the TAP is busy: somebody else has it open"
            raise HostError(linkstr, cause, "take another", errno.EBUSY) from None
        remedy = f"ifconfig {name} create; the device file must be yours to open"
        raise from_oserror(error, f"{linkstr}: {path}", remedy) from None
