"""Making a TAP device, or attaching to one that is there, on Linux."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import attrs

from rumphyper.errors import HostError
from rumphyper.host import tun
from rumphyper.host.ifreq import FORBIDDEN
from rumphyper.host.libc import from_oserror
from rumphyper.host.netif import Netif
from rumphyper.host.netns import Netns, within

SUPER = tun.TUN_F_CSUM | tun.TUN_F_TSO4 | tun.TUN_F_TSO6


@attrs.frozen
class Wanted:
    """What a TAP device shall be like; None leaves a thing as it is."""

    name: str
    queues: int = 0
    """Descriptors of a multi-queue device, 0 for one that is not."""

    superframes: bool = False
    persistent: bool | None = None
    owner: int | None = None
    group: int | None = None
    host_mac: bytes | None = None
    mtu: int | None = None
    up: bool | None = None
    """None brings up a device that is made, and leaves one that was there."""

    @property
    def thing(self) -> str:
        return f"tap:{self.name}"


@attrs.frozen
class Device:
    """A TAP device that is attached to."""

    name: str
    fds: Sequence[int]
    """A non-blocking descriptor for each queue, the caller's to close."""

    mtu: int
    made: bool
    """Whether it was not there before."""


def open_device(wanted: Wanted, netns: Netns | None = None) -> Device:
    """Make or attach to the device, inside ``netns``. Raises HostError.

    When anything fails, a device that was made is gone again: `own`, which may
    let it stay, is for the caller to call when all else is done.
    """
    return within(netns, lambda: _open(wanted))


def delete_tap(name: str, netns: Netns | None = None) -> None:
    """Delete a persistent device that nobody has open, or anybody. HostError."""
    with Netif(netns) as netif:
        netif.delete(name)


def _open(wanted: Wanted) -> Device:
    fds: list[int] = []
    try:
        name, made = _attach(wanted, fds)
        with Netif() as netif:
            _configure(netif, name, wanted, made)
            mtu = netif.mtu(name)
        return Device(name, tuple(fds), mtu, made)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _attach(wanted: Wanted, fds: list[int]) -> tuple[str, bool]:
    """Fill ``fds``; return the device's name and whether it was made."""
    flags = tun.IFF_TAP | tun.IFF_NO_PI
    if wanted.queues:
        flags |= tun.IFF_MULTI_QUEUE
    if wanted.superframes:
        flags |= tun.IFF_VNET_HDR
    thing = wanted.thing
    fds.append(_clone(thing))
    asked = os.fsencode(wanted.name)
    made = True
    try:
        try:
            octets = tun.set_interface(fds[0], asked, flags | tun.IFF_TUN_EXCL, thing)
        except HostError as error:
            if error.errno != errno.EBUSY:
                raise
            made = False
            octets = tun.set_interface(fds[0], asked, flags, thing)
        for _ in range(1, wanted.queues):
            fds.append(_clone(thing))
            tun.set_interface(fds[-1], octets, flags, thing)
        # Also without superframes: a device keeps what its last user has set.
        tun.set_offload(fds[0], SUPER if wanted.superframes else 0, thing)
    except HostError as error:
        raise _refused(error, wanted) from None
    return os.fsdecode(octets), made


def _clone(thing: str) -> int:
    try:
        return tun.open_clone()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            cause = f"this host has no {tun.CLONE}"
            remedy = "modprobe tun; in a container: --device /dev/net/tun"
            raise HostError(thing, cause, remedy, error.errno) from None
        if error.errno in (errno.EACCES, errno.EPERM):
            cause = f"{tun.CLONE} may not be opened"
            remedy = "run as root, or have the device file made readable and writable"
            raise HostError(thing, cause, remedy, error.errno) from None
        raise from_oserror(error, f"{thing}: {tun.CLONE}") from None


def _refused(error: HostError, wanted: Wanted) -> HostError:
    """Say what a refused TUNSETIFF means (drivers/net/tun.c, tun_set_iff)."""
    number = error.errno
    cause, remedy = error.cause, ""
    if number == errno.EBUSY:
        cause = "the TAP is busy: somebody else has it open"
        remedy = "close it there, take another name, or open both with queues=1"
    elif number in (errno.EPERM, errno.EACCES):
        cause = "not permitted to make or to attach to this TAP"
        remedy = f"{FORBIDDEN}; or have a persistent one made with your uid as owner"
    elif number == errno.EINVAL:
        other = "without queues=" if wanted.queues else "with queues=1"
        cause = "the interface is there and no TAP, or a TAP of the other queue kind"
        remedy = f"take another name, or open it {other}"
    elif number == errno.E2BIG:
        cause = f"the device has no room for {max(1, wanted.queues)} more queues"
        remedy = "open fewer"
    elif number == errno.ENFILE:
        cause = "no number is free for the %d of the name"
    return HostError(wanted.thing, cause, remedy, number)


def _configure(netif: Netif, name: str, wanted: Wanted, made: bool) -> None:
    if wanted.host_mac is not None and netif.mac(name) != wanted.host_mac:
        netif.set_mac(name, wanted.host_mac)
    if wanted.mtu is not None and netif.mtu(name) != wanted.mtu:
        netif.set_mtu(name, wanted.mtu)
    up = made if wanted.up is None else wanted.up
    if netif.is_up(name) != up and (wanted.up is not None or made):
        (netif.set_up if up else netif.set_down)(name)


def own(fd: int, wanted: Wanted) -> None:
    """Set who owns the device, and last of all whether it stays. HostError."""
    try:
        if wanted.owner is not None:
            tun.set_owner(fd, wanted.owner, wanted.thing)
        if wanted.group is not None:
            tun.set_group(fd, wanted.group, wanted.thing)
        if wanted.persistent is not None:
            tun.set_persistent(fd, wanted.persistent, wanted.thing)
    except HostError as error:
        remedy = FORBIDDEN if error.errno in (errno.EPERM, errno.EACCES) else ""
        raise HostError(wanted.thing, error.cause, remedy, error.errno) from None
