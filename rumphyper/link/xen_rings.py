"""What is shared while a Xen link is connected: rings, pages, event channels."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping, Sequence

from typing_extensions import Buffer

from rumphyper.errors import RumphyperError
from rumphyper.host.atomic import Word
from rumphyper.link.base import ETHER_HEADER
from rumphyper.net.blank import fill_checksum
from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Fence, Ring
from rumphyper.ring.netif_rx import RxFront
from rumphyper.ring.netif_tx import TxFront
from rumphyper.xen.evtchn import EventChannels
from rumphyper.xen.gntalloc import Grants


class Rings(abc.ABC):
    """One connection. One thread may send while another takes."""

    dropped: int = 0
    """Frames that the other side refused, or that could not be had from it."""

    def __init__(self, events: EventChannels) -> None:
        self.events = events
        self.tx_port = self.rx_port = 0
        self.held = contextlib.ExitStack()

    def fence(self) -> Fence:
        """Orders stores before loads: an atomic operation on a word of its own."""
        word = Word(bytearray(4), 0)
        self.held.callback(word.close)
        acquire, release = word.acquire, word.release

        def fence() -> None:
            acquire()
            release()

        return fence

    def ring(self, memory: Buffer, page: int, name: str, front: bool) -> Ring:
        """The transmit ring (page 0) or the receive ring (page 1)."""
        begin = page * abi.PAGE
        entry = (abi.TX_ENTRY, abi.RX_ENTRY)[page]
        with memoryview(memory) as whole:
            part = whole[begin : begin + abi.PAGE]
        name = f"{name} {('tx', 'rx')[page]}"
        ring = Ring(part, entry, name, front=front, fence=self.fence())
        self.held.callback(part.release)
        self.held.callback(ring.release)
        return ring

    def unbind(self, port: int) -> None:
        """Close a port, which the other side may have closed already."""
        with contextlib.suppress(RumphyperError):
            self.events.unbind(port)

    def notify_both(self) -> None:
        """Have the other side look at both rings."""
        for port in {self.tx_port, self.rx_port}:
            self.events.notify(port)

    @abc.abstractmethod
    def send(self, frames: Sequence[Buffer]) -> int:
        """Send a batch; return how many were taken. Raises CorruptError."""

    @abc.abstractmethod
    def take(self, limit: int) -> list[bytes]:
        """Frames that have arrived, up to ``limit``. Raises CorruptError."""

    @abc.abstractmethod
    def arm(self) -> bool:
        """Ask to be notified of frames; true when there are some already."""

    def close(self) -> None:
        """Close ports, and revoke or unmap pages. Idempotent."""
        self.held.close()


class FrontRings(Rings):
    """The front end's: its pages, which stay granted as long as it is connected."""

    def __init__(
        self,
        events: EventChannels,
        name: str,
        domain: int,
        *,
        split: bool,
        tx_slots: int,
        rx_slots: int,
    ) -> None:
        super().__init__(events)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            pages, tx_pool, rx_pool = (
                self.held.enter_context(Grants(domain, count, writable=writable))
                for count, writable in ((2, True), (tx_slots, False), (rx_slots, True))
            )
            tx = self.ring(pages.memory, 0, name, front=True)
            rx = self.ring(pages.memory, 1, name, front=True)
            self._tx = TxFront(tx, tx_pool.memory, tx_pool.refs)
            self._rx = RxFront(rx, rx_pool.memory, rx_pool.refs)
            self.tx_port = self.rx_port = self._port(domain)
            if split:
                self.rx_port = self._port(domain)
            self._refs = pages.refs
            self._rx.post()
            rx.push()
            undo.pop_all()

    def _port(self, domain: int) -> int:
        port = self.events.bind_unbound(domain)
        self.held.callback(self.unbind, port)
        return port

    def keys(self) -> Mapping[str, int]:
        """What the back end has to know of them."""
        tx, rx = self._refs
        keys = {"tx-ring-ref": tx, "rx-ring-ref": rx}
        if self.tx_port == self.rx_port:
            return {**keys, "event-channel": self.tx_port}
        ports = {"event-channel-tx": self.tx_port, "event-channel-rx": self.rx_port}
        return {**keys, **ports}

    def send(self, frames: Sequence[Buffer]) -> int:
        tx = self._tx
        self.dropped += tx.collect()
        taken = tx.send(frames)
        if tx.ring.push():
            self.events.notify(self.tx_port)
        return taken

    def take(self, limit: int) -> list[bytes]:
        rx = self._rx
        arrived = rx.take(limit)
        frames = arrived.frames
        for place in arrived.blank:
            frames[place] = fill_checksum(frames[place])
        if frames and min(map(len, frames)) < ETHER_HEADER:
            whole = [frame for frame in frames if len(frame) >= ETHER_HEADER]
            self.dropped += len(frames) - len(whole)
            frames = whole
        self.dropped += arrived.dropped
        rx.post()
        if rx.ring.push():
            self.events.notify(self.rx_port)
        return frames

    def arm(self) -> bool:
        return self._rx.ring.arm()
