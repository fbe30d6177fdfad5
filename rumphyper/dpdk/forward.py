"""Forwarding from one port's queue to another's: a burst is one bound call.

The thunk calls the driver's receive function and hands the number of mbufs on to
the other driver's transmit function, on the same array. Python only compares the
result with a full burst.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from rumphyper.dpdk.calls import Fast
from rumphyper.dpdk.port import Port
from rumphyper.dpdk.queues import BURST, Mbufs
from rumphyper.host import thunks
from rumphyper.host.thunks import ThunkBuilder

ROUND = 64
"""Bursts between two looks at what others may have changed."""


class Forwarder:
    """Moves mbufs from a receive queue of a started port to a transmit queue.

    ``size`` is the burst. Nobody else uses the two queues meanwhile. What the
    target does not take is freed and counted in ``dropped``. Frames are looked at
    by callbacks only, where somebody has registered any.
    """

    def __init__(
        self,
        source: Port,
        target: Port,
        source_queue: int = 0,
        target_queue: int = 0,
        size: int = BURST,
    ) -> None:
        self.received = 0
        self.dropped = 0
        self.size = size
        self._mbufs = Mbufs(source, size)
        self._source, self._target = source, target
        self._queues = source_queue, target_queue
        self._rx = Fast.of(source.eal, source.number, source_queue, "rx")
        self._tx = Fast.of(target.eal, target.number, target_queue, "tx")
        array = self._mbufs.address
        prototype = ctypes.PYFUNCTYPE(
            ctypes.c_uint16, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint16
        )
        self._receive = prototype(self._rx.function)
        self._transmit = prototype(self._tx.function)
        self._chain: Callable[[], int] | None = None
        if thunks.supported():
            builder = ThunkBuilder("librumphyper-forward.so")
            builder.chain("forward", 3, 2)
            thunk = self._thunk = builder.load()["forward"]
            words = (self._rx.queue, array, size, self._tx.queue, array)
            for index, value in enumerate(words):
                thunk.args[index] = value
            thunk.target, thunk.second = self._rx.function, self._tx.function
            self._chain = ctypes.PYFUNCTYPE(ctypes.c_uint16)(thunk.address)

    def move(self, bursts: int = ROUND) -> int:
        """Move up to so many bursts; return how many frames went.

        Ends early when a burst was not full: the source has no more, or the
        target no room.
        """
        sent = 0
        while bursts > 0:
            some = min(bursts, ROUND)
            full = self._round(some)
            sent += full
            if full < some * self.size:
                break
            bursts -= some
        return sent

    def _round(self, bursts: int) -> int:
        chain, size = self._chain, self.size
        if chain is None or self._rx.callbacks.value or self._tx.callbacks.value:
            return self._one_by_one(bursts)
        sent = size
        done = 0
        for done in range(bursts):  # noqa: B007
            sent = chain()
            if sent != size:
                break
        else:
            self.received += bursts * size
            return bursts * size
        came = self._thunk.passed
        self.received += done * size + came
        if sent < came:
            self.dropped += came - sent
            self._mbufs.free(sent, came)
        return done * size + sent

    def _one_by_one(self, bursts: int) -> int:
        total = 0
        lib, array, size = self._source.eal.lib, self._mbufs.address, self.size
        for _ in range(bursts):
            came = self._receive(self._rx.queue, array, size)
            hook = self._rx.callbacks.value
            if came and hook:
                at = (self._source.number, self._queues[0])
                came = lib.rte_eth_call_rx_callbacks(*at, array, came, size, hook)
            self.received += came
            goes = came
            hook = self._tx.callbacks.value
            if goes and hook:
                at = (self._target.number, self._queues[1])
                goes = lib.rte_eth_call_tx_callbacks(*at, array, goes, hook)
            sent = self._transmit(self._tx.queue, array, goes) if goes else 0
            if sent < goes:
                self.dropped += goes - sent
                self._mbufs.free(sent, goes)
            total += sent
            if sent < size:
                break
        return total
