"""Opening a packet socket on one interface."""

from __future__ import annotations

import errno
import socket
import struct

from rumphyper.errors import HostError, LinkstrError, UnsupportedError
from rumphyper.host.ifreq import check_name
from rumphyper.host.libc import from_oserror
from rumphyper.host.netif import Netif
from rumphyper.host.netns import Netns, within
from rumphyper.link import packet_abi as abi

RAW = "needs CAP_NET_RAW: run as root, or in a namespace of your own (unshare -Urn)"
ETHERNETS = (abi.ARPHRD_ETHER, abi.ARPHRD_LOOPBACK)


def check_interface(scheme: str, name: str) -> None:
    """Raise LinkstrError for a name that no interface can have."""
    try:
        check_name(name)
    except HostError as error:
        raise LinkstrError(
            f"{scheme}:{name}", error.cause, "use a name like eth0"
        ) from None


def look_up(linkstr: str, name: str, *, up: bool) -> tuple[int, int]:
    """The index and MTU of an interface that is up, or is brought up with ``up``.

    Of the namespace that the caller is in. Raises HostError.
    """
    with Netif() as netif:
        index, mtu = netif.index(name), netif.mtu(name)
        if not netif.is_up(name):
            if not up:
                raise HostError(
                    linkstr,
                    f"the interface {name} is down",
                    f"bring it up: `ip link set {name} up`, or up=True",
                    errno.ENETDOWN,
                )
            netif.set_up(name)
    return index, mtu


def open_socket(
    name: str,
    netns: Netns | None,
    *,
    up: bool,
    promiscuous: bool,
    outgoing: bool,
    bypass: bool,
    octets: int,
    ring: bool,
) -> tuple[socket.socket, int]:
    """A bound, non-blocking packet socket, and the interface's MTU.

    Raises HostError (no such interface, down, not permitted) and
    UnsupportedError (an interface that carries no Ethernet frames).
    """

    def act() -> tuple[socket.socket, int]:
        index, mtu = look_up(f"packet:{name}", name, up=up)
        end = _socket(name)
        try:
            _set_up(end, index, promiscuous, outgoing, bypass, octets, ring)
            # Only now may frames come, and of this interface alone.
            end.bind((name, abi.ETH_P_ALL))
            _check_kind(end, name)
        except OSError as error:
            end.close()
            raise from_oserror(error, f"packet:{name}", RAW) from None
        except BaseException:
            end.close()
            raise
        return end, mtu

    return within(netns, act)


def _socket(name: str) -> socket.socket:
    try:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        return socket.socket(socket.AF_PACKET, kind, 0)
    except OSError as error:
        remedy = RAW if error.errno in (errno.EPERM, errno.EACCES) else "use a TAP"
        raise from_oserror(error, f"packet:{name}", remedy) from None


def _set_up(
    end: socket.socket,
    index: int,
    promiscuous: bool,
    outgoing: bool,
    bypass: bool,
    octets: int,
    ring: bool,
) -> None:
    def switch(option: int, value: int = 1) -> None:
        end.setsockopt(abi.SOL_PACKET, option, value)

    if ring:
        switch(abi.PACKET_VERSION, abi.TPACKET_V3)
    switch(abi.PACKET_VNET_HDR)
    switch(abi.PACKET_AUXDATA)
    if bypass:
        switch(abi.PACKET_QDISC_BYPASS)
    if not outgoing:
        switch(abi.PACKET_IGNORE_OUTGOING)
    if promiscuous:
        request = abi.MEMBERSHIP.pack(index, abi.PACKET_MR_PROMISC, 0, b"")
        end.setsockopt(abi.SOL_PACKET, abi.PACKET_ADD_MEMBERSHIP, request)
    try:
        end.setsockopt(socket.SOL_SOCKET, abi.SO_RCVBUFFORCE, octets)
    except OSError:  # not of the first user namespace's root
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)


def _check_kind(end: socket.socket, name: str) -> None:
    kind = end.getsockname()[3]
    if kind not in ETHERNETS:
        cause = f"{name} has hardware type {kind}, not Ethernet's"
        raise UnsupportedError(f"packet:{name}", cause, "use an Ethernet interface")


def drops(end: socket.socket) -> int:
    """Frames that the socket had no room for since this was last asked."""
    octets = end.getsockopt(abi.SOL_PACKET, abi.PACKET_STATISTICS, abi.STATISTICS.size)
    (dropped,) = struct.unpack_from("=4xI", octets)
    return int(dropped)
