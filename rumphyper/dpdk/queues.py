"""One queue of a port: bursts in, bursts out, mbufs given back.

Like DPDK's, a queue is for one thread at a time; links put their callers in order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.dpdk.calls import Burst, Call, Fast
from rumphyper.dpdk.mbuf import Reader, Writer
from rumphyper.dpdk.pool import Pool
from rumphyper.dpdk.port import Port
from rumphyper.dpdk.prototypes import POOL_OP

BURST = 256
"""mbufs of one burst at most."""

_WORD = 8


class Mbufs:
    """An array of mbufs' addresses, as bursts take it."""

    def __init__(self, port: Port, size: int) -> None:
        self.array = (ctypes.c_uint64 * size)()
        self.address = ctypes.addressof(self.array)
        self._free_bulk = port.eal.lib.rte_pktmbuf_free_bulk

    def free(self, first: int, end: int) -> None:
        """Give the mbufs of these places back to their pools."""
        if end > first:
            self._free_bulk(self.address + _WORD * first, end - first)


class RxQueue:
    """A receive queue of a port that has been started."""

    def __init__(self, port: Port, queue: int, size: int = BURST) -> None:
        self.port = port
        self.queue = queue
        self.mbufs = Mbufs(port, size)
        self.reader = Reader(port.eal.dpdk.layout)
        self.fast = Fast.of(port.eal, port.number, queue, "rx")
        self._limit = size
        self._burst = Burst(self.fast, self.mbufs.address, size)
        self._receive = self._burst.call
        self._callbacks = self.fast.callbacks
        self._current, self._function = self.fast.current, self.fast.function
        self.held = 0
        """How many mbufs of the last burst have not been given back."""

    def receive(self, limit: int) -> int:
        """Take up to ``limit`` mbufs, at most the array's size; the last are freed."""
        if self.held:
            self.free()
        if limit > len(self.mbufs.array):
            limit = len(self.mbufs.array)
        if limit != self._limit:
            self._burst.limit(limit)
            self._limit = limit
        if self._current.value != self._function:  # `Fast.alive`, on the fast path
            return 0
        count = self._receive()
        if count and self._callbacks.value:
            port = self.port
            count = port.eal.lib.rte_eth_call_rx_callbacks(
                port.number,
                self.queue,
                self.mbufs.address,
                count,
                limit,
                self._callbacks.value,
            )
        self.held = count
        return count

    def copies(self) -> list[bytes]:
        """Copies of the frames of the last burst, whose mbufs go back."""
        frames = self.reader.copies(self.mbufs.array[: self.held])
        self.free()
        return frames

    def views(self) -> list[Buffer]:
        """The frames of the last burst in place, until the next."""
        return self.reader.views(self.mbufs.array[: self.held])

    def free(self) -> None:
        """Give the mbufs of the last burst back."""
        held, self.held = self.held, 0
        self.mbufs.free(0, held)

    def drain(self, most: int) -> None:
        """Give back up to so many mbufs that nobody has received.

        A ring in memory keeps them even when it is closed.
        """
        while most > 0 and (count := self.receive(BURST)):
            most -= count

    def close(self) -> None:
        """Give back what is held; the port may be stopped then. Idempotent."""
        self.free()
        self._burst.close()


class TxQueue:
    """A transmit queue of a port that has been started, and mbufs for it."""

    def __init__(self, port: Port, queue: int, pool: Pool, size: int = BURST) -> None:
        self.port = port
        self.queue = queue
        self.pool = pool
        self.mbufs = Mbufs(port, size)
        self.writer = Writer(pool)
        self._filled: bytes | None = None
        """The frame that all mbufs of the pool hold, if they do."""
        self.fast = Fast.of(port.eal, port.number, queue, "tx")
        self._callbacks = self.fast.callbacks
        array = self.mbufs.address
        self._burst = Burst(self.fast, array, size, blocking=True)
        self._alloc = Call(POOL_OP, pool.dequeue_address, (pool.address, array, size))

    def generate(self, frame: bytes, limit: int) -> int:
        """Send one frame up to ``limit`` times; return how often.

        Free mbufs are filled once and hold the frame from then on, which drivers
        that copy or send their octets leave as they are.
        """
        if self._filled is not frame and not self._fill(frame):
            return self.send([frame] * limit, [len(frame)] * limit)
        done, size = 0, len(self.mbufs.array)
        while done < limit:
            got = self.alloc(min(size, limit - done))
            sent = self.transmit(got) if got else 0
            done += sent
            if not sent or sent < got:
                break
        return done

    def _fill(self, frame: bytes) -> bool:
        """Write a frame into all mbufs, if they are all free."""
        count = self.pool.count
        array = (ctypes.c_uint64 * count)()
        if self.pool.dequeue(self.pool.address, array, count):
            return False
        self.writer.write(array[:], [frame] * count, [len(frame)] * count)
        self.pool.enqueue(self.pool.address, array, count)
        self._filled = frame
        return True

    def send(self, frames: Sequence[bytes], sizes: Sequence[int]) -> int:
        """Send frames that each fit into one mbuf; return how many were taken."""
        self._filled = None
        done, count, size = 0, len(frames), len(self.mbufs.array)
        if count == 1:
            if not self.alloc(1):
                return 0
            self.writer.write_one(self.mbufs.array[0], frames[0])
            return self.transmit(1)
        while done < count:
            want = min(size, count - done)
            got = self.alloc(want)
            if not got:
                break
            array = self.mbufs.array[:got]
            end = done + got
            if got == count:
                self.writer.write(array, frames, sizes)
            else:
                self.writer.write(array, frames[done:end], sizes[done:end])
            sent = self.transmit(got)
            done += sent
            if sent < got or got < want:
                break
        return done

    def send_long(self, frame: Buffer) -> int:
        """Send one frame of more octets than an mbuf has; 1 if it was taken."""
        self._filled = None
        need = -(-memoryview(frame).nbytes // self.pool.room)
        got = self.alloc(need)
        if got < need:
            self.mbufs.free(0, got)
            return 0
        self.writer.write_chain(self.mbufs.array[:need], frame)
        return self.transmit(1)

    def alloc(self, want: int) -> int:
        """Take up to ``want`` mbufs from the pool; return how many there were."""
        while want:
            self._alloc.limit(want)
            if self._alloc.call() == 0:
                return want
            want //= 2
        return 0

    def transmit(self, count: int) -> int:
        """Send the first mbufs of the array; what is not taken is freed."""
        kept, sent = self.offer(count)
        if sent < kept:
            self.mbufs.free(sent, kept)
            return sent
        return count  # a callback has consumed the difference

    def offer(self, count: int) -> tuple[int, int]:
        """Send the first mbufs of the array, which may be another pool's.

        How many callbacks have left of them, and how many of those went: what lies
        between the two numbers is still the caller's.
        """
        if self._callbacks.value:
            port = self.port
            count = port.eal.lib.rte_eth_call_tx_callbacks(
                port.number,
                self.queue,
                self.mbufs.address,
                count,
                self._callbacks.value,
            )
        self._burst.limit(count)
        return count, self._burst.call() if self.fast.alive else 0

    def close(self) -> None:
        """Nobody sends any more. Idempotent."""
        self._burst.close()
        self._alloc.close()
