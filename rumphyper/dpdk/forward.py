"""Forwarding from one port's queue to another's: a burst is one bound call.

The thunk calls the driver's receive function and hands the number of mbufs on to
the other driver's transmit function, on the same array. Python only compares the
result with a full burst. Where callbacks look at the frames (programs, others'
own) a burst is three calls, bound as far as bursts are full.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from rumphyper.dpdk.calls import Fast
from rumphyper.dpdk.port import Port
from rumphyper.dpdk.prototypes import BURST as BURST_TYPE
from rumphyper.dpdk.queues import BURST, Mbufs
from rumphyper.errors import UnsupportedError
from rumphyper.host import thunks
from rumphyper.host.thunks import ThunkBuilder

ROUND = 64
"""Bursts between two looks at what others may have changed."""

_COUNT = ctypes.PYFUNCTYPE(ctypes.c_uint16)
_BURST = ctypes.PYFUNCTYPE(BURST_TYPE[0], *BURST_TYPE[1])


class Forwarder:
    """Moves mbufs from a receive queue of a started port to a transmit queue.

    ``size`` is the burst. Nobody else uses the two queues meanwhile. What the
    target does not take is freed and counted in ``dropped``; ``received`` counts
    what came. Callbacks that somebody has registered are called.
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
        self._lib = source.eal.lib
        self._from = (source.number, source_queue)
        self._to = (target.number, target_queue)
        self._rx = Fast.of(source.eal, source.number, source_queue, "rx")
        self._tx = Fast.of(target.eal, target.number, target_queue, "tx")
        self._receive = _BURST(self._rx.function)
        self._transmit = _BURST(self._tx.function)
        self._bound = _Bound(self) if thunks.supported() else None

    def move(self, bursts: int = ROUND) -> int:
        """Move up to so many bursts; return how many frames went.

        Ends early when a burst was not full: the source has no more, or the
        target no room. A port that has been stopped moves nothing; once it has
        been started again it needs another `Forwarder`.
        """
        went = 0
        while bursts > 0:
            some = min(bursts, ROUND)
            if not (self._rx.alive and self._tx.alive):
                break
            if self._rx.callbacks.value or self._tx.callbacks.value:
                moved, full = self._called_back(some)
            elif self._bound is not None:
                moved, full = self._through(self._bound, some)
            else:
                moved, full = self._called_back(some)
            went += moved
            if not full:
                break
            bursts -= some
        return went

    def _through(self, bound: _Bound, bursts: int) -> tuple[int, bool]:
        """Nothing looks at the frames: one call for each burst."""
        chain, size = bound.chain, self.size
        for left in range(bursts, 0, -1):  # noqa: B007 (it is used below)
            went = chain()
            if went != size:
                break
        else:
            self.received += bursts * size
            return bursts * size, True
        before, came = (bursts - left) * size, bound.passed()
        self.received += before + came
        self._drop(went, came)
        return before + went, False

    def _called_back(self, bursts: int) -> tuple[int, bool]:
        """Callbacks look at the frames."""
        rx, tx, size = self._rx, self._tx, self.size
        array = self._mbufs.address
        bound = self._bound
        total = 0
        for _ in range(bursts):
            came = bound.receive() if bound else self._receive(rx.queue, array, size)
            self.received += came
            kept = came
            hook = rx.callbacks.value
            if came and hook:
                if bound and came == size:
                    kept = bound.look(hook)
                else:
                    kept = self._lib.rte_eth_call_rx_callbacks(
                        *self._from, array, came, size, hook
                    )
            hook = tx.callbacks.value
            if kept and hook:
                kept = self._lib.rte_eth_call_tx_callbacks(*self._to, array, kept, hook)
            if bound and kept == size:
                went = bound.transmit()
            else:
                went = self._transmit(tx.queue, array, kept) if kept else 0
            self._drop(went, kept)
            total += went
            if came < size or went < kept:
                return total, False
        return total, True

    def _drop(self, went: int, came: int) -> None:
        if went < came:
            self.dropped += came - went
            self._mbufs.free(went, came)


class _Bound:
    """The calls of full bursts, all arguments bound."""

    def __init__(self, forwarder: Forwarder) -> None:
        rx, tx = forwarder._rx, forwarder._tx
        array, size = forwarder._mbufs.address, forwarder.size
        builder = ThunkBuilder("librumphyper-forward.so")
        builder.chain("forward", 3, 2)
        builder.bound("receive", 3)
        builder.bound("look", 6)
        builder.bound("transmit", 3)
        library = builder.load()
        call_back = ctypes.cast(
            forwarder._lib.rte_eth_call_rx_callbacks,  # type: ignore[arg-type]
            ctypes.c_void_p,
        ).value
        if call_back is None:
            raise UnsupportedError("DPDK", "no rte_eth_call_rx_callbacks", "report it")
        for name, target, words in (
            ("forward", rx.function, (rx.queue, array, size, tx.queue, array)),
            ("receive", rx.function, (rx.queue, array, size)),
            ("look", call_back, (*forwarder._from, array, size, size, 0)),
            ("transmit", tx.function, (tx.queue, array, size)),
        ):
            library[name].target = target
            for index, value in enumerate(words):
                library[name].args[index] = value
        library["forward"].second = tx.function
        self._forward, self._look = library["forward"], library["look"]
        self._hook = 0
        self.chain: Callable[[], int] = _COUNT(self._forward.address)
        self.receive: Callable[[], int] = _COUNT(library.address("receive"))
        self.transmit: Callable[[], int] = _COUNT(library.address("transmit"))
        self._call_back: Callable[[], int] = _COUNT(library.address("look"))

    def passed(self) -> int:
        """What the last chained burst received."""
        return self._forward.passed

    def look(self, hook: int) -> int:
        """Call what is registered on the source's queue, for a full burst."""
        if hook != self._hook:
            self._look.args[5] = self._hook = hook
        return self._call_back()
