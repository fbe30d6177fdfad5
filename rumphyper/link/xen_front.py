"""``xen:vif/N``: the front end of a vif, as a guest's kernel has it.

Facts: Xen xen/include/public/io/netif.h (keys); Linux drivers/net/xen-netfront.c,
drivers/net/xen-netback/xenbus.c (how states answer each other).
"""

from __future__ import annotations

import contextlib

from rumphyper.errors import LinkEndedError, LinkError
from rumphyper.link.xen_link import PARTING, XenLink, fits
from rumphyper.link.xen_rings import FrontRings
from rumphyper.xen.bus import State, flag, number
from rumphyper.xen.operations import Operations
from rumphyper.xen.xenstore import Xenstore

GONE = (State.UNKNOWN, State.CLOSING, State.CLOSED)


class XenFront(XenLink):
    """A front end. When its back end goes away, it waits for it to come back."""

    def __init__(
        self,
        linkstr: str,
        store: Xenstore,
        own: str,
        mac: bytes,
        mtu: int,
        *,
        split: bool,
        tx_slots: int,
        rx_slots: int,
        reconnect: bool,
    ) -> None:
        """Take over ``store``, which is closed even when this fails."""
        with contextlib.ExitStack() as undo:
            undo.callback(store.close)
            other = store.read(f"{own}/backend")
            undo.pop_all()
        super().__init__(linkstr, store, own, other, mac, mtu)
        self._split, self._reconnect = split, reconnect
        self._slots = {"tx_slots": tx_slots, "rx_slots": rx_slots}
        self._ready = False
        """Whether this end has told that it begins anew."""

    def _step(self, theirs: State) -> None:
        if self._rings is not None:
            # A back end that begins anew has forgotten the connection.
            anew = theirs in (State.INITIALISING, State.INIT_WAIT) and self._up
            if theirs in GONE or anew:
                self._lost(theirs)
            elif theirs == State.CONNECTED and not self._up:
                self._connected()
        if self._rings is None:
            if theirs == State.UNKNOWN:
                self._look_for_back_end()
            if theirs != State.CLOSING and not self._ready:
                self._ready = True
                self._say(State.INITIALISING)
            if theirs == State.INIT_WAIT:
                self._connect()

    def _lost(self, theirs: State) -> None:
        """The back end is going, or has gone and is back."""
        self._disconnect()
        self._ready = False
        if theirs in GONE:
            self._say(State.CLOSED)
        if not self._reconnect:
            cause = "the back end has closed the connection"
            raise LinkEndedError(self.linkstr, cause, "open the link again")

    def _look_for_back_end(self) -> None:
        """Its folder is gone: so is the vif, or it has another back end now."""
        other = self.store.get(f"{self.own}/backend")
        if other is None:
            cause = "the vif was removed from this domain"
            raise LinkEndedError(self.linkstr, cause, "have it attached again")
        if other != self.other:
            self._watch.close()
            self.other = other
            self._watch = self.store.watch(f"{other}/state")

    def _connect(self) -> None:
        store, other = self.store, self.other
        domain = number(store, f"{self.own}/backend-id", 0x7FEF)
        if not flag(store, f"{other}/feature-rx-copy"):
            cause = "the back end does not copy what is received (feature-rx-copy)"
            raise LinkError(self.linkstr, cause, "take another back end")
        fits(self.linkstr, self.mtu, flag(store, f"{other}/feature-sg"))
        split = self._split and flag(store, f"{other}/feature-split-event-channels")
        rings = FrontRings(
            self.events, self.linkstr, domain, split=split, **self._slots
        )
        self._rings = rings
        keys = {
            **rings.keys(),
            "request-rx-copy": 1,
            "feature-rx-notify": 1,
            "feature-sg": 1,
            # Whoever sends computes checksums: what arrives is complete.
            "feature-no-csum-offload": 1,
            "feature-ipv6-csum-offload": 0,
        }
        stale = {"event-channel", "event-channel-tx", "event-channel-rx"} - keys.keys()

        def write(inside: Operations) -> None:
            for key in stale:
                inside.remove(f"{self.own}/{key}")
            for key, value in keys.items():
                inside.write(f"{self.own}/{key}", value)

        store.transact(write)
        self._ready = False
        self._say(State.CONNECTED)

    def _farewell(self) -> None:
        if self._rings is None or self._failure is not None:
            self._say(State.CLOSED)
            return
        self._say(State.CLOSING)
        self.await_states(GONE, PARTING)
        self._disconnect()
        self._say(State.CLOSED)
        self.await_states((State.UNKNOWN, State.CLOSED), PARTING)
