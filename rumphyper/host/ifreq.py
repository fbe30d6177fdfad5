"""One request to a network interface: struct ifreq and its ioctl(2).

Facts: netdevice(7); the kernel's include/uapi/linux/sockios.h and if.h, whose
numbers are the same on every architecture.
"""

from __future__ import annotations

import errno
import os

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl

SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCGIFMTU, SIOCSIFMTU = 0x8921, 0x8922
SIOCSIFHWADDR, SIOCGIFHWADDR = 0x8924, 0x8927
SIOCGIFINDEX = 0x8933
SIOCGIFTXQLEN = 0x8942

IFF_UP = 0x1
IFF_RUNNING = 0x40

ARPHRD_ETHER = 1

IFNAMSIZ = 16
"""Octets of an interface's name with the null behind it."""

IFREQ = 40
"""Octets of struct ifreq (32 on 32-bit hosts, which look at no more)."""

FORBIDDEN = (
    "needs CAP_NET_ADMIN: run as root, or in a user and network namespace of "
    "your own (unshare -Urn)"
)


def check_name(name: str) -> bytes:
    """The octets of an interface's name. Raises HostError (EINVAL).

    The kernel's own rules (net/core/dev.c, dev_valid_name): 1 to 15 octets, no
    slash, colon or white space, neither ``.`` nor ``..``.
    """
    octets = os.fsencode(name)
    if not octets:
        cause = "the name is empty"
    elif len(octets) >= IFNAMSIZ:
        cause = f"the name has {len(octets)} octets, at most {IFNAMSIZ - 1} are allowed"
    elif name in (".", ".."):
        cause = "the name is a folder's"
    elif any(sign in "/:\0" or sign.isspace() for sign in name):
        cause = "the name has a slash, colon, null or white space in it"
    else:
        return octets
    remedy = "use a name like tap0"
    raise HostError(f"interface {name!r}", cause, remedy, errno.EINVAL)


def ask(
    fd: int, request: int, name: str, value: bytes = b"", refused: str = ""
) -> bytearray:
    """Make one request by a socket; return struct ifreq as the kernel left it.

    ``value`` goes behind the name; ``refused`` is what EINVAL means for this
    request. Raises HostError.
    """
    buffer = bytearray(IFREQ)
    octets = check_name(name)
    buffer[: len(octets)] = octets
    buffer[IFNAMSIZ : IFNAMSIZ + len(value)] = value
    try:
        ioctl(fd, request, buffer, f"interface {name}")
    except HostError as error:
        raise _explained(error, refused) from None
    return buffer


def _explained(error: HostError, refused: str) -> HostError:
    """The same error with a remedy, where its errno has one."""
    cause, remedy = error.cause, ""
    if error.errno == errno.ENODEV:
        cause, remedy = "there is no such interface", "see `ip link`"
    elif error.errno in (errno.EPERM, errno.EACCES):
        remedy = FORBIDDEN
    elif error.errno == errno.EBUSY:
        remedy = "take the interface down first"
    elif refused and error.errno in (errno.EINVAL, errno.ERANGE, errno.EADDRNOTAVAIL):
        cause = refused
    return HostError(error.thing, cause, remedy, error.errno)
