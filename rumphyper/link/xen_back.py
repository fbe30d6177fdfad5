"""``xen:back/DOMID/HANDLE``: the back end of a guest's vif.

Facts: Xen xen/include/public/io/netif.h (keys); Linux drivers/net/xen-netfront.c,
drivers/net/xen-netback/xenbus.c (how states answer each other).
"""

from __future__ import annotations

from rumphyper.errors import LinkError
from rumphyper.link.xen_back_rings import BackRings, Offer
from rumphyper.link.xen_link import PARTING, XenLink, fits
from rumphyper.net.mac import random_mac
from rumphyper.xen.bus import State, flag, number
from rumphyper.xen.operations import Operations, Permission
from rumphyper.xen.xenstore import Xenstore

OPEN = (State.INITIALISED, State.CONNECTED)


class XenBack(XenLink):
    """A back end. Front ends come and go; it waits for the next one."""

    def __init__(
        self,
        linkstr: str,
        store: Xenstore,
        own: str,
        front: str,
        domain: int,
        handle: int,
        mac: bytes,
        mtu: int,
        *,
        missing: bool,
    ) -> None:
        """Take over ``store``, which is closed even when this fails.

        ``missing`` tells that there are no keys of the vif yet: they are made by
        `begin`, and removed in the end.
        """
        super().__init__(linkstr, store, own, front, mac, mtu)
        self.domain, self.handle = domain, handle
        self._missing = missing
        self._fresh = False
        """Whether the front end has been asked to begin anew, or has done so."""

    def begin(self) -> None:
        """Tell front ends what there is here."""
        if self._missing:
            make(self.store, self.own, self.other, self.domain, self.handle)
        features = ("rx-copy", "sg", "split-event-channels")
        for feature in features:
            self.store.write(f"{self.own}/feature-{feature}", 1)
        self._say(State.INITIALISING)

    def _step(self, theirs: State) -> None:
        if self._rings is not None:
            if theirs in OPEN:
                return
            self._disconnect()
        if theirs in OPEN and self._fresh:
            self._connect()
        elif theirs in OPEN or theirs == State.CLOSING:
            # One that was open before us has to begin anew, too.
            self._say(State.CLOSING)
        elif theirs == State.CLOSED:
            self._say(State.CLOSED)
        else:
            self._fresh = True
            self._say(State.INIT_WAIT)

    def _connect(self) -> None:
        front, store = self.other, self.store
        self._fresh = False
        if not flag(store, f"{front}/request-rx-copy"):
            cause = "the front end wants pages, not copies (request-rx-copy)"
            raise LinkError(self.linkstr, cause, "take another front end")
        fits(self.linkstr, self.mtu, flag(store, f"{front}/feature-sg"))
        if store.get(f"{front}/event-channel-tx") is None:
            ports = ["event-channel"] * 2
        else:
            ports = ["event-channel-tx", "event-channel-rx"]
        keys = ["tx-ring-ref", "rx-ring-ref", *ports]
        offer = Offer(self.domain, *(number(store, f"{front}/{key}") for key in keys))
        self._rings = BackRings(self.events, self.linkstr, offer)
        self._say(State.CONNECTED)
        self._connected()

    def _farewell(self) -> None:
        if self._rings is not None:
            self._say(State.CLOSING)
            self.await_states((State.UNKNOWN, State.CLOSING, State.CLOSED), PARTING)
            self._disconnect()
        self._say(State.CLOSED)
        if self._missing:
            self.store.remove(self.own)
            self.store.remove(self.other)


def make(store: Xenstore, own: str, front: str, domain: int, handle: int) -> None:
    """Write the keys of a new vif, as a toolstack does."""
    mac = random_mac().hex(":")
    us = number(store, "domid", 0x7FEF)
    ours = {"frontend": front, "frontend-id": f"{domain}", "online": "1"}
    theirs = {"backend": own, "backend-id": f"{us}"}
    both = {"handle": f"{handle}", "mac": mac, "state": f"{State.INITIALISING:d}"}

    def write(inside: Operations) -> None:
        inside.mkdir(own)
        inside.set_permissions(own, [Permission(us, "n"), Permission(domain, "r")])
        inside.mkdir(front)
        inside.set_permissions(front, [Permission(domain, "n"), Permission(us, "r")])
        for folder, keys in ((own, ours), (front, theirs)):
            for key, value in {**keys, **both}.items():
                inside.write(f"{folder}/{key}", value)

    store.transact(write)
