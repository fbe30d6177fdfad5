"""The sending side of a shmif link."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic_ns

from rumphyper.link.shmif_file import BusFile
from rumphyper.link.shmif_gather import Gatherer, SenderLock
from rumphyper.link.shmif_lock import BusLock
from rumphyper.ring.shmif import CHUNK, HEADER_SIZE, Bus
from rumphyper.ring.shmif_write import Writer, join


class Outbox:
    """Puts frames on the bus under its lock, then wakes the other users.

    All calls are made with ``sender_lock`` held; the frames have been checked.
    They raise CorruptError, LinkError and HostError.
    """

    def __init__(
        self, file: BusFile, bus: Bus, lock: BusLock, sender_lock: SenderLock
    ) -> None:
        self.sender = int.from_bytes(os.urandom(8), "little")
        """What marks this end's packets on the bus."""
        self._file = file
        self._lock = lock
        self._append = Writer(bus).append
        self._gatherer = Gatherer(self._put_gathered, sender_lock)
        self.add = self._gatherer.add
        """Put one frame on the bus, at once or with the next ones."""
        self.flush = self._gatherer.flush
        """Put on the bus what waits for more."""

    def put_all(self, frames: Sequence[bytes], sizes: Sequence[int]) -> None:
        """Put a batch on the bus, of any size, in as few steps as may be."""
        self.flush()
        step = CHUNK // (max(sizes) + HEADER_SIZE)
        if len(sizes) <= step:
            self._put(frames, sizes)
            return
        for at in range(0, len(sizes), step):
            self._put(frames[at : at + step], sizes[at : at + step])

    def _put(self, frames: Sequence[bytes], sizes: Sequence[int]) -> None:
        file = self._file
        file.check_size()
        # The C driver stamps with its kernel's uptime; this is the host's.
        packets = join(frames, sizes, monotonic_ns() // 1000, self.sender)
        self._lock.run(self._append, packets, HEADER_SIZE + sizes[-1])
        file.wake()

    def _put_gathered(self, frames: Sequence[bytes]) -> None:
        sizes = list(map(len, frames))
        step = CHUNK // (max(sizes) + HEADER_SIZE)
        for at in range(0, len(sizes), step):
            self._put(frames[at : at + step], sizes[at : at + step])
