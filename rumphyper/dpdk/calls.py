"""Calls of DPDK's fast path, their arguments bound beforehand.

Converting arguments costs more than a call, so the functions behind a port's
queues are called by thunks without arguments, or with prebuilt ones where there
are no thunks. They are found in the exported table rte_eth_fp_ops once the port
has been started: DPDK lib/ethdev/rte_ethdev_core.h.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import threading
from collections import deque
from collections.abc import Callable

import attrs

from rumphyper.dpdk.eal import Eal
from rumphyper.dpdk.prototypes import BURST, Prototype
from rumphyper.host import thunks
from rumphyper.host.library import Thunk
from rumphyper.host.memory import memory
from rumphyper.host.thunks import ThunkBuilder


@attrs.frozen
class Fast:
    """Where the functions and data of one queue are."""

    function: int
    """The address of the driver's eth_rx_burst_t or eth_tx_burst_t."""

    queue: int
    """Its first argument."""

    callbacks: ctypes.c_uint64
    """The word that is not 0 when somebody has registered callbacks."""

    current: ctypes.c_uint64
    """The word that holds another function once the port is stopped or gone."""

    @classmethod
    def of(cls, eal: Eal, port: int, queue: int, way: str) -> Fast:
        """That of a port that has been started; ``way`` is ``rx`` or ``tx``."""
        layout = eal.dpdk.layout
        entry = eal.dpdk.address("ethdev", "rte_eth_fp_ops")
        entry += port * layout["rte_eth_fp_ops"]

        def word(address: int) -> int:
            value: int = struct.unpack_from("<Q", memory(), address)[0]
            return value

        data = word(entry + layout[f"rte_eth_fp_ops.{way}q.data"])
        callbacks = word(entry + layout[f"rte_eth_fp_ops.{way}q.clbk"])
        function = entry + layout[f"rte_eth_fp_ops.{way}_pkt_burst"]
        return cls(
            word(function),
            word(data + 8 * queue),
            ctypes.c_uint64.from_address(callbacks + 8 * queue),
            ctypes.c_uint64.from_address(function),
        )

    @property
    def alive(self) -> bool:
        """Whether the port is as it was, neither stopped nor removed by others."""
        return self.current.value == self.function


_WORDS = 3
_IN_ONE = 32
"""Thunks of one library: more are loaded as they are needed."""

_lock = threading.Lock()
_spare: deque[Thunk] = deque()


def _draw() -> Thunk:
    """A thunk with three bound arguments that nobody uses."""
    with _lock:
        if not _spare:
            builder = ThunkBuilder("librumphyper-dpdk.so")
            for index in range(_IN_ONE):
                builder.bound(f"call{index}", _WORDS)
            library = builder.load()
            _spare.extend(library[f"call{index}"] for index in range(_IN_ONE))
        return _spare.popleft()


class Call:
    """A C function of three arguments, all bound: ``call()`` gives its result.

    The last one is a number that `limit` changes. ``blocking`` calls release the
    GIL, which costs some 50 ns.
    """

    def __init__(
        self,
        prototype: Prototype,
        function: int,
        arguments: tuple[int, int, int],
        blocking: bool = False,
    ) -> None:
        result, types = prototype
        kind = ctypes.CFUNCTYPE if blocking else ctypes.PYFUNCTYPE
        self._last = arguments[-1]
        self._thunk: Thunk | None = None
        self.call: Callable[[], int]
        if thunks.supported():
            thunk = self._thunk = _draw()
            for index, value in enumerate(arguments):
                thunk.args[index] = value
            thunk.target = function
            self.call = kind(result)(thunk.address)
        else:
            words = [
                type_(value) for type_, value in zip(types, arguments, strict=True)
            ]
            self._number = words[-1]
            self.call = functools.partial(kind(result, *types)(function), *words)

    def limit(self, number: int) -> None:
        """Set the last argument of the calls to come."""
        if number != self._last:
            self._last = number
            if self._thunk is not None:
                self._thunk.args[_WORDS - 1] = number
            else:
                self._number.value = number

    def close(self) -> None:
        """Let others have the thunk; nobody may call any more. Idempotent."""
        thunk, self._thunk = self._thunk, None
        if thunk is not None:
            with _lock:
                _spare.append(thunk)


class Burst(Call):
    """The driver's receive or transmit function on one queue and one array."""

    def __init__(
        self, fast: Fast, array: int, number: int, blocking: bool = False
    ) -> None:
        arguments = (fast.queue, array, number)
        super().__init__(BURST, fast.function, arguments, blocking)
