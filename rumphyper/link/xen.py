"""``xen:vif/N``, ``xen:back/DOMID/HANDLE``: frames by Xen's rings. See docs/xen.md."""

from __future__ import annotations

import contextlib
import errno
import re

from rumphyper.errors import HostError, LinkstrError
from rumphyper.link.base import ETHER_MTU
from rumphyper.link.station import station
from rumphyper.link.xen_back import XenBack
from rumphyper.link.xen_front import XenFront
from rumphyper.link.xen_link import LONGEST_MTU, XenLink
from rumphyper.ring.netif_abi import MOST_SLOTS, SLOTS
from rumphyper.xen.bus import driver, has_driver, number
from rumphyper.xen.xenstore import Xenstore

__all__ = ["XenBack", "XenFront", "open_xen"]

FORMS = "use xen:vif/HANDLE, xen:vif/MAC or xen:back/DOMID/HANDLE"
TIMEOUT = 10.0
TX_SLOTS, RX_SLOTS = 128, 256
_MAC = r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}"


def open_xen(
    rest: str,
    /,
    *,
    mac: bytes | str | None = None,
    mtu: int = ETHER_MTU,
    timeout: float = TIMEOUT,
    split: bool = True,
    tx_slots: int = TX_SLOTS,
    rx_slots: int = RX_SLOTS,
    reconnect: bool = True,
    xenstore: str | None = None,
) -> XenLink:
    """Open ``xen:REST``.

    ``xenstore`` is the node or socket to speak to it by. ``mac`` is the address of
    the station at this end: a front end's is the vif's. ``mtu`` above 4,078 needs
    the other side's feature-sg. For front ends only: ``timeout`` is how many
    seconds the back end may take, ``split`` asks for an event channel for each
    direction, ``tx_slots`` and ``rx_slots`` are the pages that are granted to
    each, ``reconnect`` waits for a back end that goes away, where a link otherwise
    ends. A back end makes the vif's keys where a toolstack has not, and opens at
    once: a front end may come later.

    Raises LinkstrError, HostError (no Xen, no access, no such vif, the kernel's own
    driver has it), LinkError (the other side does not connect, and how far it was),
    CorruptError (its keys are missing or make no sense).
    """
    linkstr = f"xen:{rest}"
    front = re.fullmatch(rf"vif/([0-9]{{1,5}}|{_MAC})", rest)
    back = re.fullmatch(r"back/([0-9]{1,5})/([0-9]{1,5})", rest)
    if not (front or back):
        raise LinkstrError(linkstr, f"{rest!r} names no vif", FORMS)
    if not 0 < mtu <= LONGEST_MTU:
        cause = f"an MTU of {mtu} is not between 1 and {LONGEST_MTU}"
        raise LinkstrError(linkstr, cause, "choose another mtu")
    for name, slots in (("tx_slots", tx_slots), ("rx_slots", rx_slots)):
        if not MOST_SLOTS <= slots <= SLOTS:
            cause = f"{name}={slots} is not between {MOST_SLOTS} and {SLOTS}"
            raise LinkstrError(linkstr, cause, "choose another number of pages")
    given = None if mac is None else station(linkstr, mac)
    store = Xenstore(xenstore)
    with contextlib.ExitStack() as undo:
        undo.callback(store.close)
        if back:
            domain, handle = (int(text) for text in back.groups())
            own, other, missing = _find_back(linkstr, store, domain, handle)
            undo.pop_all()
            station_mac = given or station(linkstr, None)
            link = XenBack(
                linkstr, store, own, other, domain, handle, station_mac, mtu,
                missing=missing,
            )  # fmt: skip
            with contextlib.ExitStack() as closing:
                closing.callback(link.close)
                link.begin()
                closing.pop_all()
            return link
        assert front is not None
        own = _find_front(linkstr, store, front[1])
        vif_mac = given or station(linkstr, store.get(f"{own}/mac"))
        undo.pop_all()
    face = XenFront(
        linkstr,
        store,
        own,
        vif_mac,
        mtu,
        split=split,
        tx_slots=tx_slots,
        rx_slots=rx_slots,
        reconnect=reconnect,
    )
    with contextlib.ExitStack() as closing:
        closing.callback(face.close)
        face.start(timeout)
        closing.pop_all()
    return face


def _find_front(linkstr: str, store: Xenstore, name: str) -> str:
    """The folder of the vif with that handle or address."""
    folder = f"{store.domain_path(number(store, 'domid', 0x7FEF))}/device/vif"
    handles = [] if store.get(folder) is None else store.list(folder)
    for handle in handles:
        mac = store.get(f"{folder}/{handle}/mac") or ""
        if name in (handle, mac) or name.lower() == mac.lower():
            _not_the_kernels(linkstr, "xen", f"vif-{handle}")
            return f"{folder}/{handle}"
    there = f"there are {', '.join(handles)}" if handles else "there are none"
    cause = f"this domain has no vif {name}; {there}"
    raise HostError(linkstr, cause, "have one attached: xl network-attach")


def _find_back(
    linkstr: str, store: Xenstore, domain: int, handle: int
) -> tuple[str, str, bool]:
    """Both folders of a vif, and whether they have to be made."""
    us = number(store, "domid", 0x7FEF)
    own = f"{store.domain_path(us)}/backend/vif/{domain}/{handle}"
    _not_the_kernels(linkstr, "xen-backend", f"vif-{domain}-{handle}")
    front = store.get(f"{own}/frontend")
    if front is not None:
        return own, front, False
    if has_driver("xen-backend", "vif"):
        cause = "there is no such vif, and the kernel's xen-netback takes new ones"
        remedy = "rmmod xen-netback, or have the vif made and unbind it from there"
        raise HostError(linkstr, cause, remedy, errno.EBUSY)
    return own, f"{store.domain_path(domain)}/device/vif/{handle}", True


def _not_the_kernels(linkstr: str, bus: str, device: str) -> None:
    name = driver(bus, device)
    if name is not None:
        cause = f"the kernel's driver has {device}"
        remedy = f"echo {device} > /sys/bus/{bus}/drivers/{name}/unbind"
        raise HostError(linkstr, cause, remedy, errno.EBUSY)
