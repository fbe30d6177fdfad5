"""``xdp:IF``: frames of an interface of the host by AF_XDP sockets.

A small program in the kernel hands what comes in to this link and not to the host's
own stack. See docs/xdp.md.
"""

from __future__ import annotations

import contextlib

from rumphyper.errors import LinkstrError
from rumphyper.host.netns import Netns, within
from rumphyper.link import xdp_abi as abi
from rumphyper.link.base import ETHER_HEADER, VLAN_TAG
from rumphyper.link.packet_socket import check_interface, look_up
from rumphyper.link.station import station
from rumphyper.link.xdp_link import XdpLink
from rumphyper.link.xdp_program import Mode, Program
from rumphyper.link.xdp_socket import QueueSocket

__all__ = ["XdpLink", "open_xdp"]

ENTRIES = 1024
"""Slots of each direction of a queue, by default."""

CHUNKS = (2048, 4096)
"""Octets that a slot may have: the kernel takes no others."""


def open_xdp(
    name: str,
    /,
    *,
    mac: bytes | str | None = None,
    netns: Netns | None = None,
    up: bool = False,
    queue: int = 0,
    queues: int = 1,
    mode: Mode = "auto",
    zero_copy: bool | None = None,
    receive: bool = True,
    entries: int = ENTRIES,
) -> XdpLink:
    """Open AF_XDP sockets on queues of the interface ``name``.

    ``mac`` is the address of the station at this end (random). ``netns`` is the
    network namespace of the interface, which ``up`` brings up. The queues are so
    many from ``queue`` on. ``mode`` says where the program runs: ``native`` (in
    the driver), ``generic`` or ``auto``. ``zero_copy`` demands it or forbids it.
    ``receive=False`` does without a program, which takes no right to load one.
    ``entries`` is the slots of each direction of a queue, a power of two.

    Raises LinkstrError (a name or option that cannot be right), HostError (no
    such interface or queue, down, busy, not permitted) and UnsupportedError (a
    kernel or driver that cannot). Nothing stays behind.
    """
    linkstr = f"xdp:{name}"
    check_interface("xdp", name)
    if mode not in ("auto", "native", "generic"):
        raise LinkstrError(linkstr, f"mode={mode!r}", "auto, native or generic")
    if not 0 <= queue < 1 << 16 or not 1 <= queues <= 256:
        remedy = "the first one from 0 on, and how many of them, at most 256"
        raise LinkstrError(linkstr, f"queue={queue}, queues={queues}", remedy)
    if not 64 <= entries <= 1 << 16 or entries & (entries - 1):
        raise LinkstrError(
            linkstr, f"entries={entries}", "a power of two from 64 to 65536"
        )
    here = station(linkstr, mac)
    numbers = range(queue, queue + queues)

    def act() -> XdpLink:
        index, mtu = look_up(linkstr, name, up=up)
        longest = CHUNKS[-1] - abi.HEADROOM - ETHER_HEADER - VLAN_TAG
        its_mtu = min(mtu, longest)
        whole = its_mtu + ETHER_HEADER + VLAN_TAG + abi.HEADROOM
        chunk = next(size for size in CHUNKS if whole <= size)
        with contextlib.ExitStack() as undo:
            sockets = {}
            for number in numbers:
                made = QueueSocket(linkstr, entries, chunk, receives=receive)
                undo.callback(made.close)
                made.bind(index, number, zero_copy)
                sockets[number] = made
            program = None
            if receive:
                fds = {number: made.fd for number, made in sockets.items()}
                program = Program(linkstr, index, fds, mode)
            undo.pop_all()
        return XdpLink(name, list(sockets.values()), program, mac=here, mtu=its_mtu)

    return within(netns, act)
