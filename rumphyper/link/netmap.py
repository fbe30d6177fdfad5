"""``netmap:IF`` and ``valeN:PORT``: frames by netmap's rings. See docs/netmap.md.

Linux with the netmap module. FreeBSD has netmap in its base system, with the
same device and requests; there this code has not been run.
"""

from __future__ import annotations

import mmap as _mmap
import sys

from rumphyper.errors import LinkstrError
from rumphyper.host.netif import Netif
from rumphyper.link.base import ETHER_HEADER, ETHER_MTU, VLAN_TAG
from rumphyper.link.netmap_abi import Mode
from rumphyper.link.netmap_link import NetmapLink
from rumphyper.link.netmap_name import PortName, parse
from rumphyper.link.netmap_port import Port, Wanted
from rumphyper.link.station import station
from rumphyper.ring.netmap_abi import MAX_FRAGS

__all__ = ["NetmapLink", "open_netmap", "open_vale"]

VNET_HEADERS = (0, 10, 12)
HOST_MODES = (Mode.SW, Mode.ONE_SW)


def open_netmap(
    rest: str,
    /,
    *,
    mac: bytes | str | None = None,
    mtu: int | None = None,
    busy: bool = False,
    slots: int = 0,
    rings: int = 0,
    extra_buffers: int = 0,
    vnet_header: int = 0,
    memory: _mmap.mmap | None = None,
    csb: bool = False,
) -> NetmapLink:
    """Open ``netmap:REST``.

    ``mac`` is the address of the station at this end: that of the interface, or
    a random one for host rings, pipes and VALE ports. ``mtu`` is the
    interface's, or 1,500; a frame longer than a buffer takes several slots,
    which VALE ports and pipes carry. ``busy`` never sleeps when it waits.
    ``slots`` and ``rings`` are wishes of which the kernel may take less.
    ``extra_buffers`` are buffers that are in no slot (`NetmapIf.extra_buffers`).
    ``vnet_header`` is the size of a virtio-net header in front of each frame.
    ``memory`` is a shared mapping that the region shall be made of. ``csb``
    has the kernel look at the rings by itself, so that no call is made to move
    frames (needs a port for itself).

    Raises LinkstrError (a name that does not parse, with the place), HostError
    (no module, no interface, busy, down, no memory), CorruptError.
    """
    wanted = Wanted(slots, rings, extra_buffers, vnet_header, memory, csb)
    return _open(f"netmap:{rest}", wanted, mac, mtu, busy)


def open_vale(
    linkstr: str,
    /,
    *,
    mac: bytes | str | None = None,
    mtu: int | None = None,
    busy: bool = False,
    slots: int = 0,
    rings: int = 0,
    extra_buffers: int = 0,
    vnet_header: int = 0,
    memory: _mmap.mmap | None = None,
    csb: bool = False,
) -> NetmapLink:
    """Open ``valeN:PORT``, the whole of it; the options are `open_netmap`'s."""
    wanted = Wanted(slots, rings, extra_buffers, vnet_header, memory, csb)
    return _open(linkstr, wanted, mac, mtu, busy)


def _open(
    linkstr: str, wanted: Wanted, mac: bytes | str | None, mtu: int | None, busy: bool
) -> NetmapLink:
    name = parse(linkstr)
    if wanted.vnet_header not in VNET_HEADERS:
        cause = f"vnet_header={wanted.vnet_header} is none of {VNET_HEADERS}"
        raise LinkstrError(linkstr, cause, "10, or 12 with the number of buffers")
    if min(wanted.slots, wanted.rings, wanted.extra_buffers) < 0:
        raise LinkstrError(linkstr, "a number is negative", "0 leaves it to the kernel")
    its_mac, its_mtu = _interface(name)
    here = station(linkstr, mac or its_mac)
    port = Port(linkstr, name, wanted)
    room = MAX_FRAGS * port.face.rings[0].buf_size if port.face.rings else 0
    most = room - ETHER_HEADER - VLAN_TAG - wanted.vnet_header
    asked = its_mtu if mtu is None else mtu
    if not 0 < asked <= most:
        port.close()
        cause = f"an MTU of {asked} is not between 1 and {most}"
        raise LinkstrError(linkstr, cause, "choose another mtu")
    return NetmapLink(
        port, mac=here, mtu=asked, vnet_header=wanted.vnet_header, busy=busy
    )


def _interface(name: PortName) -> tuple[bytes | None, int]:
    """Address and MTU of the interface, where the port is one."""
    if name.vale or name.pipe or sys.platform != "linux":
        return None, ETHER_MTU
    with Netif() as netif:
        if not netif.exists(name.name):
            return None, ETHER_MTU
        mac = None if name.mode in HOST_MODES else netif.mac(name.name)
        return mac, netif.mtu(name.name)
