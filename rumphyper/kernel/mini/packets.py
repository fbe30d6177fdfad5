"""Packet memory: clusters of 2 KiB from slabs of rumpuser_malloc."""

from __future__ import annotations

import ctypes
from contextlib import ExitStack

import attrs

from rumphyper.kernel.mini.abi import Iovec
from rumphyper.kernel.mini.calls import Calls
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.locks import Mutex
from rumphyper.kernel.mini.memory import Memory

CLUSTER = 2048
"""Octets of a cluster: the longest packet (MCLBYTES)."""

SLAB = 16
SLABS = 16
"""Clusters of a slab, slabs at most."""


@attrs.frozen
class Packet:
    """``length`` octets of a frame at ``address``."""

    address: int
    length: int

    @property
    def octets(self) -> bytes:
        """A copy."""
        return ctypes.string_at(self.address, self.length)


class Packets:
    """The pool of packets. ``exhausted`` counts the times it had none."""

    def __init__(self, calls: Calls, memory: Memory, undo: ExitStack) -> None:
        self._memory = memory
        self._slabs: list[int] = []
        self._free: list[int] = []
        self.exhausted = 0
        undo.callback(self._close)
        self._mutex = Mutex(calls, undo)
        self._grow()

    def _grow(self) -> None:
        """Add a slab; MiniKernelError when the host has no memory."""
        slab = self._memory.allocate(SLAB * CLUSTER, "packets", CLUSTER)
        self._slabs.append(slab)
        self._free.extend(slab + number * CLUSTER for number in range(SLAB))

    def gather(self, pieces: ctypes.Array[Iovec]) -> Packet | None:
        """A packet with the octets of ``pieces``.

        None when there is no memory. MiniKernelError when it is too long.
        """
        if any(piece.length and not piece.base for piece in pieces):
            raise MiniKernelError("frame", "one of its pieces is nowhere (NULL)")
        packet = self._get(sum(piece.length for piece in pieces))
        if packet is not None:
            where = packet.address
            for piece in pieces:
                ctypes.memmove(where, piece.base, piece.length)
                where += piece.length
        return packet

    def copy(self, octets: bytes) -> Packet | None:
        """A packet with ``octets``; None and errors as with `gather`."""
        packet = self._get(len(octets))
        if packet is not None:
            ctypes.memmove(packet.address, octets, len(octets))
        return packet

    def _get(self, length: int) -> Packet | None:
        if length > CLUSTER:
            raise MiniKernelError(f"frame of {length} octets", "does not fit a packet")
        with self._mutex:
            if not self._free and len(self._slabs) < SLABS:
                try:
                    self._grow()
                except MiniKernelError:
                    pass  # counted below
            if not self._free:
                self.exhausted += 1
                return None
            return Packet(self._free.pop(), length)

    def put(self, packet: Packet) -> None:
        """Give a packet back."""
        with self._mutex:
            self._free.append(packet.address)

    @property
    def in_use(self) -> int:
        """Packets that were not given back yet."""
        return len(self._slabs) * SLAB - len(self._free)

    @property
    def contended(self) -> int:
        """How often a thread had to wait for the pool."""
        return self._mutex.contended

    def _close(self) -> None:
        for slab in self._slabs:
            self._memory.free(slab)
