"""From one TAP to another without a copy: out of the slots that it was read into.

The writes of a second batch name the slots of the first one's reads, so
nothing between the two copies a frame. Only octets at the front of frames are
looked at, to find out where they go.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from rumphyper.errors import LinkError
from rumphyper.link.base import ETHER_HEADER
from rumphyper.link.tap_batch import settle
from rumphyper.link.tap_link import TapLink

GROUP = 16
"""Slots that one struct covers."""


class Slots:
    """Frames of a TAP link, left where they were read, until the next `read`.

    Nobody else receives from the link meanwhile. Raises LinkError when it is not
    read in batches from one descriptor.
    """

    def __init__(self, link: TapLink) -> None:
        io = link.batches
        if io is None:
            cause = "its frames do not come in batches of one descriptor"
            raise LinkError(link.linkstr, cause, "receive from it as usual")
        self.link = link
        self._io = io
        self.batch = io.reads
        self.kind = io.kind
        self.count = 0
        """How many frames there are."""

        self.size = 0
        """The octets of each frame, or 0 where they differ."""

        self._sizes: Sequence[int] = ()
        self._words = memoryview(io.reads.memory).cast("Q")
        self._heads: dict[int, struct.Struct] = {}

    def read(self, limit: int) -> list[bytes] | None:
        """Read up to ``limit`` frames; how many there are ``count`` says.

        None when they lie in the slots one behind the other; where they do not
        (one between them was cut off) a list of copies. Raises as `recv` does.
        """
        io = self._io
        with self.link.rx_lock:
            self.link.check_open()
            self.count = count = io.read(limit)
            if count:
                self.size = io.size
                return None
            sizes = io.sizes
            while sizes and sizes[-1] <= 0:
                sizes = sizes[:-1]
            self.size, self._sizes, self.count = 0, sizes, len(sizes)
            return None if not sizes or min(sizes) > 0 else self.copies()

    @property
    def sizes(self) -> Sequence[int]:
        """The octets of the frame in each slot."""
        return [self.size] * self.count if self.size else self._sizes

    def same_head(self) -> bytes | None:
        """The first 16 octets, where all frames have the same ones; else None.

        Longer slots than frames make that safe: the octets are the slot's.
        """
        stride, count = self.batch.size // 8, self.count
        first, second = (
            self._words[half : count * stride : stride].tobytes() for half in (0, 1)
        )
        one = first[:8] + second[:8]
        same = first == one[:8] * count and second == one[8:] * count
        return one if same else None

    def heads(self, length: int) -> list[bytes]:
        """The first ``length`` octets of each frame."""
        pattern = self._heads.get(length)
        if pattern is None:
            form = f"{length}s{self.batch.size - length}x" * GROUP
            pattern = self._heads[length] = struct.Struct(form)
        count, slot = self.count, self.batch.size
        whole = count - count % GROUP
        heads: list[bytes] = []
        with memoryview(self.batch.memory) as view, view[: whole * slot] as part:
            for group in pattern.iter_unpack(part):
                heads += group
        for start in range(whole * slot, count * slot, slot):
            heads.append(self.batch.memory[start : start + length])
        return heads

    def close(self) -> None:
        """Let go of the slots; before the link is closed. Idempotent."""
        self._words.release()

    def copies(self, first: int = 0) -> list[bytes]:
        """The frames themselves, from the slot ``first`` on."""
        memory, slot = self.batch.memory, self.batch.size
        return [
            memory[index * slot : index * slot + size]
            for index, size in enumerate(self.sizes)
            if size > 0 and index >= first
        ]


class SlotWriter:
    """Sends what lies in ``slots`` by another TAP link.

    Raises LinkError when the link is not written in batches by one descriptor, and
    what setting up another batch raises.
    """

    def __init__(self, slots: Slots, link: TapLink) -> None:
        if link.batches is None:
            cause = "its frames do not go in batches by one descriptor"
            raise LinkError(link.linkstr, cause, "send by it as usual")
        fd = link.frame_fd()
        assert fd is not None
        self._slots = slots
        self._link = link
        self._writes = slots.kind(fd, 1, 1, write=True, share=slots.batch)

    def send(self) -> int | None:
        """Send all frames of the slots; how many were taken, from the front.

        None, with nothing sent, when one is too long for the link. Raises as
        the link's `send` does.
        """
        link, slots, writes = self._link, self._slots, self._writes
        size, count = slots.size, slots.count
        low, high = (size, size) if size else (min(slots.sizes), max(slots.sizes))
        if low < ETHER_HEADER or high > link.max_frame:
            return None
        with link.tx_lock:
            link.check_open()
            if size:
                writes.set_alike(size)
                if writes.run_alike(count, size) == count:
                    link.counters.sent += count
                    link.counters.sent_bytes += count * size
                    return count
                results = writes.results(count)
            else:
                writes.set_lengths(slots.sizes)
                results = writes.run(count)
            return settle(link.linkstr, link.counters, results, slots.sizes)

    def close(self) -> None:
        """Free the batch; before the link that was read is closed. Idempotent."""
        self._writes.close()
