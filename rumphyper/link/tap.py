"""``tap:NAME``: frames to and from the host kernel by a TAP device.

What is sent here the host kernel receives on the interface NAME, and what it
sends there arrives here. See docs/tap.md.
"""

from __future__ import annotations

import sys

from rumphyper.host.netns import Netns
from rumphyper.link import tap_bsd, tap_device
from rumphyper.link.station import station
from rumphyper.link.tap_device import Wanted, delete_tap
from rumphyper.link.tap_link import TapLink
from rumphyper.link.tap_options import Io, Options, group_id, user_id
from rumphyper.link.tap_super import MTU

__all__ = ["TapLink", "delete_tap", "open_tap"]


def open_tap(
    name: str,
    /,
    *,
    mac: bytes | str | None = None,
    host_mac: bytes | str | None = None,
    mtu: int | None = None,
    up: bool | None = None,
    persistent: bool | None = None,
    owner: int | str | None = None,
    group: int | str | None = None,
    netns: Netns | None = None,
    queues: int = 0,
    io: Io = "auto",
    superframes: bool = False,
) -> TapLink:
    """Attach to the TAP device ``name``, which is made when it is not there.

    A ``%d`` in the name stands for the first free number. ``mac`` is the
    address of the station at this end (random), ``host_mac`` the one of the
    host's interface. ``mtu``, ``up``, ``persistent``, ``owner`` and ``group`` set
    that of the interface; what is None stays as it is, but an interface that
    is made here is brought up. ``persistent=False`` deletes a persistent one
    with this link's end. ``netns`` is the network namespace to do all this in.
    ``queues`` makes a multi-queue device of which this link has so many.
    ``io`` is ``uring``, ``plain`` or ``auto``: io_uring where it works.
    ``superframes`` lets the host send bursts of TCP as one frame of up to 64 KiB
    (see tap_super.py); the link's MTU then is 65535.

    Raises LinkstrError (a name or option that cannot be right), HostError
    (busy, not permitted, no /dev/net/tun), UnsupportedError (``io="uring"``
    where it does not work). Nothing that was made is left behind by a failure.
    """
    options = Options(
        mac,
        host_mac,
        mtu,
        up,
        persistent,
        owner,
        group,
        netns,
        queues,
        io,
        superframes,
    )
    options.check(name)
    linkstr = f"tap:{name}"
    here = station(linkstr, mac)
    if sys.platform != "linux":
        fd, its_mtu = tap_bsd.open_device(name, options)
        return TapLink(linkstr, [fd], name=name, mac=here, mtu=its_mtu, io="plain")
    wanted = Wanted(
        name=name,
        queues=queues,
        superframes=superframes,
        persistent=persistent,
        owner=user_id(linkstr, owner),
        group=group_id(linkstr, group),
        host_mac=None if host_mac is None else station(linkstr, host_mac),
        mtu=mtu,
        up=up,
    )
    device = tap_device.open_device(wanted, netns)
    link = TapLink(
        f"tap:{device.name}",
        device.fds,
        name=device.name,
        mac=here,
        mtu=MTU if superframes else device.mtu,
        io="superframes" if superframes else io,
    )
    try:
        tap_device.own(device.fds[0], wanted)
    except BaseException:
        link.close()
        raise
    return link
