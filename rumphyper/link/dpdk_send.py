"""The sending half of a link over a DPDK port."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import cast

from typing_extensions import Buffer

from rumphyper.dpdk.pool import Pool
from rumphyper.dpdk.port import Port
from rumphyper.dpdk.queues import TxQueue
from rumphyper.errors import LinkEndedError
from rumphyper.link.base import ETHER_HEADER, Link
from rumphyper.link.octets import OCTET_TYPES, octets_of

KEEPERS = ("net_ring",)
"""Drivers that hand mbufs on to a receiver, who may write into them."""


class Sender(Link):
    """A link that sends by a port's first transmit queue."""

    sends_in_bursts = True

    def __init__(
        self, linkstr: str, port: Port, tx_pool: Pool, mac: bytes, mtu: int
    ) -> None:
        super().__init__(linkstr, mac, mtu)
        self.port = port
        self.tx_pool = tx_pool
        self._eal = port.eal
        self.tx: list[TxQueue] = []
        """The transmit queues, while the port is started."""

    def send(self, frames: Sequence[Buffer]) -> int:
        """Put a batch into the port's queue; copies are made.

        Fewer than all where the queue is full or no mbuf is free. Raises
        FrameError, LinkClosedError, LinkEndedError (the device is gone).
        """
        if not OCTET_TYPES.issuperset(map(type, frames)):
            frames = [octets_of(frame) for frame in frames]
        octets = cast("Sequence[bytes]", frames)
        sizes = list(map(len, octets))
        if not sizes:
            return 0
        longest = max(sizes)
        if min(sizes) < ETHER_HEADER or longest > self.max_frame:
            self.check_frames(octets)
        with self.tx_lock:
            if (queue := self._sender()) is None:
                return 0
            if longest <= self.tx_pool.room:
                taken = queue.send(octets, sizes)
            else:
                taken = self._send_long(queue, octets)
            if not taken:
                self._check_there()
            counters = self.counters
            counters.sent += taken
            if taken == len(sizes):
                counters.sent_bytes += sum(sizes)
            else:
                counters.sent_bytes += sum(sizes[:taken])
            return taken

    def generate(self, frame: bytes, limit: int) -> int:
        """Send ``frame`` up to ``limit`` times; return how often.

        The mbufs are filled once, and hold the frame when they come back: meant to
        be called again and again with the same frame. Raises as `send` does.
        """
        self.check_frames([frame])
        if self.port.info.driver in KEEPERS or len(frame) > self.tx_pool.room:
            return self.send([frame] * limit)
        with self.tx_lock:
            if (queue := self._sender()) is None:
                return 0
            taken = queue.generate(frame, limit)
            if not taken:
                self._check_there()
            self.counters.sent += taken
            self.counters.sent_bytes += taken * len(frame)
            return taken

    def _sender(self) -> TxQueue | None:
        """The queue to send by; None while the port is stopped."""
        self.check_open()
        if not self.tx:
            return None
        self._eal.enter()
        return self.tx[0]

    def _send_long(self, queue: TxQueue, frames: Sequence[bytes]) -> int:
        """Send a batch in which some frames need several mbufs."""
        taken = 0
        for long, some in groupby(frames, lambda one: len(one) > self.tx_pool.room):
            run = list(some)
            if long:
                went = sum(takewhile(bool, map(queue.send_long, run)))
            else:
                went = queue.send(run, list(map(len, run)))
            taken += went
            if went < len(run):
                break
        return taken

    def _check_there(self) -> None:
        """Raise LinkEndedError when the device has been removed."""
        number = self.port.number
        lib = self._eal.lib
        gone = not lib.rte_eth_dev_is_valid_port(number)
        if gone or lib.rte_eth_dev_is_removed(number):
            cause = "the port is gone: its device was removed"
            raise LinkEndedError(self.linkstr, cause, "open it again")
