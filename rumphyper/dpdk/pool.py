"""Mempools of mbufs, and mbufs taken from them in bulk.

rte_pktmbuf_alloc_bulk is inline in DPDK's headers; what it ends in is a function
of the pool's driver, which is called directly: so a pool for that purpose has no
caches, which only the inline functions know of. DPDK lib/mempool/rte_mempool.h.
"""

from __future__ import annotations

import ctypes
import itertools
import struct

from rumphyper.dpdk.eal import Eal
from rumphyper.dpdk.log import LOGGER
from rumphyper.dpdk.prototypes import POOL_OP
from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host.memory import memory

HEADROOM = 128
"""RTE_PKTMBUF_HEADROOM: octets in front of a frame."""

ROOM = 2048
"""Octets for a frame, as DPDK's default."""

_serial = itertools.count()


class Pool:
    """``count`` mbufs with ``room`` octets for frames each.

    With ``cache`` each thread that DPDK knows keeps up to so many: for receiving.
    Without, mbufs can be taken by `dequeue`: for sending. Raises HostError
    (ENOMEM) and UnsupportedError (DPDK was built with another layout).
    """

    def __init__(
        self, eal: Eal, count: int, room: int = ROOM, cache: int = 0, socket: int = -1
    ) -> None:
        self.eal = eal
        self.count = count
        self.room = room
        self.name = f"rumphyper{next(_serial)}"
        lib, dpdk = eal.lib, eal.dpdk
        eal.log.forget()
        # What was given back last is taken first: it is in the processor's cache.
        kind = b"ring_mp_mc" if cache else b"stack"
        address = lib.rte_pktmbuf_pool_create_by_ops(
            self.name.encode(), count, cache, 0, HEADROOM + room, socket, kind
        )
        if not address:
            thing = f"mempool of {count} mbufs of {room} octets"
            raise eal.failure(thing, -1, "give EAL more memory, or take fewer mbufs")
        self.address = address
        layout = dpdk.layout
        (index,) = struct.unpack_from(
            "<i", memory(), self.address + layout["rte_mempool.ops_index"]
        )
        ops = dpdk.address("mempool", "rte_mempool_ops_table")
        ops += layout["rte_mempool_ops_table.ops"] + index * layout["rte_mempool_ops"]
        (self.dequeue_address,) = struct.unpack_from(
            "<Q", memory(), ops + layout["rte_mempool_ops.dequeue"]
        )
        (self.enqueue_address,) = struct.unpack_from(
            "<Q", memory(), ops + layout["rte_mempool_ops.enqueue"]
        )
        result, types = POOL_OP
        prototype = ctypes.CFUNCTYPE(result, *types)
        self.dequeue = prototype(self.dequeue_address)
        """Take so many mbufs, all or none: pool, where to, number; 0 for success."""
        self.enqueue = prototype(self.enqueue_address)
        try:
            self.mbufs = self._look()
            """The addresses of all mbufs, free or not."""
        except BaseException:
            self.close()
            raise

    def _look(self) -> list[int]:
        """Take all mbufs once, to check that they are laid out as we think."""
        array = (ctypes.c_uint64 * self.count)()
        if self.dequeue(self.address, array, self.count):
            raise HostError(self.name, "a new mempool is not full", "report this DPDK")
        layout, at = self.eal.dpdk.layout, array[0]
        first = memory()[at : at + layout["rte_mbuf"]]
        found = {
            name: struct.unpack_from(form, first, layout[f"rte_mbuf.{name}"])[0]
            for name, form in (
                ("buf_addr", "<Q"),
                ("buf_iova", "<Q"),
                ("buf_len", "<H"),
                ("pool", "<Q"),
            )
        }
        self.enqueue(self.address, array, self.count)
        wanted = {
            "buf_addr": at + layout["rte_mbuf"],
            "buf_iova": found["buf_iova"] or -1,
            "buf_len": HEADROOM + self.room,
            "pool": self.address,
        }
        for name, value in wanted.items():
            if found[name] != value:
                cause = f"mbufs have {name} {found[name]:#x}, not {value:#x}"
                remedy = "use a DPDK that was built with its defaults"
                raise UnsupportedError(self.eal.dpdk.version, cause, remedy)
        return list(array)

    @property
    def available(self) -> int:
        """How many mbufs are free, those in caches included."""
        return self.eal.lib.rte_mempool_avail_count(self.address)

    def close(self) -> None:
        """Free the pool, unless somebody has mbufs of it still. Idempotent."""
        if self.address and not self.eal.closed:
            left = self.count - self.available
            address, self.address = self.address, 0
            if left:
                LOGGER.warning("%s: %d mbufs are in use, it is kept", self.name, left)
            else:
                self.eal.lib.rte_mempool_free(address)
