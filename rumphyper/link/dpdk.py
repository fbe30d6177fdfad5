"""``dpdk:PORT``, ``dpdk:net_tap0,iface=x`` and ``dpdk:0000:03:00.0``.

Frames by DPDK's drivers, on any device that they drive. See docs/dpdk.md.
"""

from __future__ import annotations

import contextlib

import attrs

from rumphyper.dpdk import info
from rumphyper.dpdk.devices import plug, port_of, unplug
from rumphyper.dpdk.eal import Eal, eal
from rumphyper.dpdk.pool import ROOM, Pool
from rumphyper.dpdk.port import Port, Queues
from rumphyper.dpdk.queues import BURST
from rumphyper.errors import HostError, LinkstrError
from rumphyper.link.base import ETHER_HEADER, ETHER_MTU, VLAN_TAG
from rumphyper.link.dpdk_link import DpdkLink
from rumphyper.link.dpdk_name import Device, parse
from rumphyper.link.station import station

__all__ = ["DpdkLink", "open_dpdk"]

CACHE = 250
"""mbufs that each thread keeps of a pool for receiving."""

SPIN = 0.00005
FCS = 4
"""Octets behind a frame, which some devices write into mbufs."""

HOST_SIDE = ("net_tap",)
"""Drivers whose port has the address of the host's interface, not of ours."""


@attrs.frozen
class Wishes:
    """The options of `open_dpdk` that shape port and pools."""

    mtu: int
    rx_queues: int
    tx_queues: int
    ring: int
    mbufs: int
    buffer: int
    promiscuous: bool

    def check(self, linkstr: str) -> None:
        """Raise LinkstrError for what cannot be right."""
        for name, low, high in (
            ("mtu", 0, 65000),
            ("rx_queues", 1, 1024),
            ("tx_queues", 1, 1024),
            ("ring", 0, 65535),
            ("mbufs", 0, 1 << 24),
            ("buffer", 0, 65000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                cause = f"{name}={value}"
                raise LinkstrError(linkstr, cause, f"{low} to {high}")


def open_dpdk(
    rest: str,
    /,
    *,
    mac: bytes | str | None = None,
    mtu: int = 0,
    rx_queues: int = 1,
    tx_queues: int = 1,
    ring: int = 0,
    mbufs: int = 0,
    buffer: int = 0,
    promiscuous: bool = True,
    spin: float = SPIN,
) -> DpdkLink:
    """Open ``dpdk:REST``; EAL is started with defaults unless it is running.

    ``mac`` is the address of the station at this end, by default the port's, or a
    random one where that is the host's. ``mtu`` 0 leaves the driver's. ``ring`` is
    the number of descriptors of each queue, ``mbufs`` that of mbufs of each of the
    two pools, ``buffer`` the octets of a frame that one mbuf holds: longer frames
    take several. ``promiscuous=False`` receives what is for ``mac`` only. ``spin``
    is for how many seconds a receiver asks the port before it sleeps.

    Raises LinkstrError (a name or option that cannot be right), HostError (EAL or
    a driver refuses), LibraryError, UnsupportedError (no DPDK that is known here).
    """
    linkstr = f"dpdk:{rest}"
    device = parse(rest)
    wishes = Wishes(mtu, rx_queues, tx_queues, ring, mbufs, buffer, promiscuous)
    wishes.check(linkstr)
    wanted = None if mac is None else station(linkstr, mac)
    if device.bus == "pci":
        from rumphyper.link.dpdk_pci import check_pci  # it loads all of a room

        check_pci(device.name)
    running = eal(device.name if device.bus == "pci" else "")
    running.enter()
    with running.lock, contextlib.ExitStack() as held:
        port = Port(running, _number(running, device, held))
        if port.number in running.in_use:
            cause = f"port {port.number} is in use already"
            raise HostError(linkstr, cause, "close the link that has it")
        running.in_use.add(port.number)
        held.callback(running.in_use.discard, port.number)
        queues, room = _shape(linkstr, port, wishes)
        pools = _pools(running, queues, room, wishes, held)
        held.callback(port.close)  # before the pools, whose mbufs it holds
        queues = _configure(port, queues, pools[0])
        with contextlib.suppress(HostError):  # some drivers know no such mode
            port.promiscuous = promiscuous
        if wanted is not None and not promiscuous:
            port.mac = wanted
        its = None if port.info.driver in HOST_SIDE or not any(port.mac) else port.mac
        here, its_mtu = wanted or station(linkstr, its), port.mtu or ETHER_MTU
        return DpdkLink(
            linkstr,
            port,
            pools,
            held.pop_all(),
            queues=(queues.rx, queues.tx),
            mac=here,
            mtu=its_mtu,
            spin=spin,
        )


def _number(running: Eal, device: Device, held: contextlib.ExitStack) -> int:
    """The port of the device, which is plugged and will be unplugged."""
    if device.bus == "port":
        return int(device.name)
    number = port_of(running, device.name) if device.bus == "pci" else None
    if number is None or number in running.in_use:
        number = plug(running, device.bus, device.name, device.arguments)
    # Else EAL has probed the card when it was started for its sake.
    held.callback(unplug, running, device.bus, device.name)
    return number


def _shape(linkstr: str, port: Port, wishes: Wishes) -> tuple[Queues, int]:
    """Queues to ask for, and the room for a frame in each mbuf."""
    its = port.info
    for name, count, most in (
        ("rx_queues", wishes.rx_queues, its.max_rx_queues),
        ("tx_queues", wishes.tx_queues, its.max_tx_queues),
    ):
        if count > most:
            cause = f"{name}={count}, and {its.driver} has {most}"
            raise LinkstrError(linkstr, cause, "take fewer")
    most = min(its.max_mtu, its.max_frame - ETHER_HEADER - FCS)
    if wishes.mtu and not its.min_mtu <= wishes.mtu <= most:
        cause = f"mtu={wishes.mtu}, and {its.driver} has {its.min_mtu} to {most}"
        raise LinkstrError(linkstr, cause, "choose one of those")
    longest = (wishes.mtu or ETHER_MTU) + ETHER_HEADER + VLAN_TAG + FCS
    room = wishes.buffer or max(ROOM, longest)
    rx = tx = 0
    if room < longest:
        rx, tx = info.RX_SCATTER, info.TX_MULTI_SEGS
        if not (rx & its.rx_offload_bits or tx & its.tx_offload_bits):
            cause = f"{its.driver} takes no frames of several mbufs"
            raise LinkstrError(linkstr, cause, f"a buffer of {longest} or more")
    ring = wishes.ring or its.rx_ring or 512
    queues = Queues(
        rx=wishes.rx_queues,
        tx=wishes.tx_queues,
        rx_ring=ring,
        tx_ring=ring,
        mtu=wishes.mtu,
        rx_offloads=rx & its.rx_offload_bits,
        tx_offloads=tx & its.tx_offload_bits,
        interrupts=True,
    )
    return queues, room


def _pools(
    running: Eal, queues: Queues, room: int, wishes: Wishes, held: contextlib.ExitStack
) -> tuple[Pool, Pool]:
    """Pools for receiving and for sending."""
    least = (queues.rx_ring + 2 * BURST) * queues.rx + 2 * CACHE
    rx = wishes.mbufs or max(2047, least)
    tx = wishes.mbufs or max(1023, queues.tx_ring * queues.tx + 2 * BURST - 1)
    receive = Pool(running, rx, room, cache=min(CACHE, rx // 2))
    held.callback(receive.close)
    send = Pool(running, tx, room)
    held.callback(send.close)
    return receive, send


def _configure(port: Port, queues: Queues, pool: Pool) -> Queues:
    """With interrupts, or without where the driver refuses them."""
    try:
        return port.configure(queues, pool)
    except HostError:
        return port.configure(attrs.evolve(queues, interrupts=False), pool)
