"""The sending side of a shmif link."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic_ns

from rumphyper.link.shmif_file import BusFile
from rumphyper.link.shmif_gather import Gatherer, SenderLock
from rumphyper.link.shmif_lock import BusLock
from rumphyper.ring.shmif import CHUNK, HEADER_SIZE, Bus
from rumphyper.ring.shmif_write import Writer, join, join_equal


class NotPlainError(Exception):
    """A frame's len() is not the number of its octets."""


class Outbox:
    """Puts frames on the bus under its lock, then wakes the other users.

    All calls are made with ``sender_lock`` held; the frames have been checked.
    They raise CorruptError, LinkError and HostError.
    """

    def __init__(
        self,
        file: BusFile,
        bus: Bus,
        lock: BusLock,
        sender_lock: SenderLock,
        gather: bool,
    ) -> None:
        self.sender = int.from_bytes(os.urandom(8), "little")
        """What marks this end's packets on the bus."""
        self._file = file
        self._lock = lock
        self._append = Writer(bus).append
        self._gatherer = Gatherer(self._put_gathered, sender_lock)
        self.add = self._gatherer.add if gather else self._put_one
        """Put one frame on the bus, at once or with the next ones."""
        self.flush = self._gatherer.flush
        """Put on the bus what waits for more."""

    def put_all(
        self, frames: Sequence[bytes], sizes: Sequence[int], longest: int, equal: bool
    ) -> int:
        """Put a batch on the bus, of any size, in as few steps as may be.

        ``longest`` is the greatest of ``sizes``, ``equal`` whether they are all
        that; returns their sum. NotPlainError, with nothing put there, when
        a frame has more octets than elements.
        """
        self.flush()
        count = len(sizes)
        total = longest * count if equal else sum(sizes)
        if total + HEADER_SIZE * count <= CHUNK:
            self._put(frames, sizes, total, equal)
            return total
        if not all(isinstance(frame, (bytes, bytearray)) for frame in frames):
            raise NotPlainError
        step = CHUNK // (longest + HEADER_SIZE)
        for at in range(0, count, step):
            part = sizes[at : at + step]
            self._put(frames[at : at + step], part, sum(part), equal)
        return total

    def _put(
        self, frames: Sequence[bytes], sizes: Sequence[int], total: int, equal: bool
    ) -> None:
        file = self._file
        file.check_size()
        # The C driver stamps with its kernel's uptime; this is the host's.
        stamp = divmod(monotonic_ns() // 1000, 1_000_000)
        newest = HEADER_SIZE + sizes[-1]
        if equal:
            head, rest = join_equal(frames, newest - HEADER_SIZE, *stamp, self.sender)
        else:
            head, rest = b"", join(frames, sizes, *stamp, self.sender)
        if len(head) + len(rest) != total + HEADER_SIZE * len(sizes):
            raise NotPlainError
        self._lock.run(self._append, head, rest, newest)
        file.wake()

    def _put_one(self, frame: bytes) -> None:
        self._put_gathered((frame,))

    def _put_gathered(self, frames: Sequence[bytes]) -> None:
        sizes = list(map(len, frames))
        longest = max(sizes)
        count = len(sizes)
        total = sum(sizes)
        if total + HEADER_SIZE * count <= CHUNK:
            self._put(frames, sizes, total, total == longest * count)
            return
        half = count // 2
        self._put_gathered(frames[:half])
        self._put_gathered(frames[half:])
