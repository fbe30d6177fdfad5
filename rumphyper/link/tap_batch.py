"""Frames in and out of one TAP descriptor in batches: one foreign call a burst.

By io_uring (`UringIo`), or by a walk of plain calls (`WalkIo`): the former saves
system calls, the latter the work that io_uring takes for each operation.
"""

from __future__ import annotations

import errno
import struct
from collections import OrderedDict
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.errors import UnsupportedError
from rumphyper.host.slots import SlotBatch
from rumphyper.host.uring_batch import Batch
from rumphyper.host.walk_batch import WalkBatch
from rumphyper.link.base import ETHER_HEADER, Counters
from rumphyper.link.octets import check_types
from rumphyper.link.tap_io import AGAIN, PlainIo, TapIo, failed
from rumphyper.link.tap_pace import Pace, Steady

SLOTS = 256
"""Frames a call at most: more gain nothing, and the slots fall out of the cache."""

FEW = 4
"""Batches up to this go out one by one: preparing a batch would be slower."""

NOTHING = -errno.EAGAIN
"""The result of a read that found no frame."""

ALIGN = 64
"""Slots start on cache lines."""

GROUP = 16
"""Slots that one struct covers."""

COPY = 2048
"""Slots up to this long are filled by structs, which fill up with nulls."""

SIZES = 32
"""Sizes of frame for which structs and views are kept."""


def slot_size(max_frame: int) -> int:
    """Octets of a slot: a full one tells of a frame that was cut off."""
    return -(-(max_frame + 1) // ALIGN) * ALIGN


def settle(
    linkstr: str,
    counters: Counters,
    results: Sequence[int],
    sizes: Sequence[int],
    first: bool = True,
) -> int:
    """Count a batch of writes by its results; return how many frames it took.

    Raises LinkError when nothing went for another reason than a full queue,
    unless it is not the ``first`` batch of a send.
    """
    done = [index for index, result in enumerate(results) if result >= 0]
    if not done and first and -results[0] not in AGAIN:
        raise failed(linkstr, -results[0])
    # Those refused before one that went can only be given up: to offer
    # them again would bring the frames behind them twice.
    taken = done[-1] + 1 if done else 0
    counters.dropped += taken - len(done)
    counters.sent += len(done)
    counters.sent_bytes += sum(sizes[index] for index in done)
    return taken


Alike = tuple[struct.Struct, list[memoryview]]
"""For frames of one size: how to copy some from slots, and a view of each slot."""


class BatchIo(TapIo):
    """Batches of prepared reads and writes, one of each for a descriptor.

    Raises UnsupportedError or HostError where the ``kind`` of batch is refused.
    """

    kind: type[Batch] | type[WalkBatch]
    pace: type[Pace]

    def __init__(
        self, linkstr: str, fd: int, max_frame: int, counters: Counters
    ) -> None:
        super().__init__(linkstr, fd, max_frame, counters)
        self._plain = PlainIo(linkstr, fd, max_frame, counters)
        self._slot = slot = slot_size(max_frame)
        self._reads: SlotBatch = self.kind(fd, SLOTS, slot, write=False)
        try:
            self._writes: SlotBatch = self.kind(fd, SLOTS, slot, write=True)
        except BaseException:
            self._reads.close()
            raise
        self._pace = self.pace(self._reads.count)
        self._offsets = list(self._reads.offsets)
        self._slots = [slot.toreadonly() for slot in self._reads.slots]
        self._fill = struct.Struct(f"{slot}s" * GROUP)
        self._alike: OrderedDict[int, Alike] = OrderedDict()
        self._sizes: list[int] = []
        self._set_size(ETHER_HEADER)

    # -- sending -------------------------------------------------------------

    def send(self, frames: Sequence[Buffer], sizes: Sequence[int], alike: int) -> int:
        if len(frames) <= FEW:
            return self._plain.send(frames, sizes, alike)
        writes = self._writes
        taken, most = 0, writes.count
        if len(frames) > most:
            check_types(frames)  # while none of them has gone out
        while taken < len(frames):
            some = frames[taken : taken + most]
            lengths = sizes[taken : taken + most]
            self._put(some, lengths)
            if alike:
                writes.set_alike(alike)
                whole = writes.run_alike(len(some), alike) == len(some)
                results = [] if whole else writes.results(len(some))
            else:
                writes.set_lengths(lengths)
                results = writes.run(len(some))
                whole = results == lengths
            if not whole:
                self.count_sent(sizes[:taken], 0, taken)
                return taken + settle(
                    self._linkstr, self._counters, results, sizes[taken:], not taken
                )
            taken += len(some)
        return self.count_sent(sizes, alike, taken)

    def _put(self, frames: Sequence[Buffer], sizes: Sequence[int]) -> None:
        """Copy the frames to the slots. StrangeBufferError for some types."""
        memory, size = self._writes.memory, self._slot
        start = 0
        if size <= COPY:
            pack_into = self._fill.pack_into
            try:
                while start + GROUP <= len(frames):
                    pack_into(memory, start * size, *frames[start : start + GROUP])
                    start += GROUP
            except struct.error:
                pass  # octets of another type, which slices take
        if start < len(frames):
            check_types(frames[start:])
        for index in range(start, len(frames)):
            place = index * size
            memory[place : place + sizes[index]] = frames[index]

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int) -> list[bytes]:
        count = self._read(limit)
        if count:
            return self._copies(self._size, count)
        memory = self._reads.memory
        return [
            memory[start : start + size]
            for start, size in zip(self._offsets, self._sizes, strict=False)
            if size > 0
        ]

    def recv_views(self, limit: int) -> Sequence[Buffer]:
        count = self._read(limit)
        if count:
            return self._views[:count]
        return [
            slot[:size]
            for slot, size in zip(self._slots, self._sizes, strict=False)
            if size > 0
        ]

    def read(self, limit: int) -> int:
        """Leave frames in the slots; how many, when all have the same `size`.

        Else 0, and `sizes` tells the size of each slot's frame, 0 or less for none.
        """
        return self._read(limit)

    @property
    def size(self) -> int:
        """The octets of each frame that `read` has counted."""
        return self._size

    @property
    def sizes(self) -> list[int]:
        """What `read` has found where it has counted none."""
        return self._sizes

    @property
    def reads(self) -> SlotBatch:
        """The slots that `read` leaves frames in."""
        return self._reads

    def _copies(self, size: int, count: int) -> list[bytes]:
        """Copies of frames of one size: a struct makes them faster than slices."""
        memory, slot = self._reads.memory, self._slot
        whole = count - count % GROUP
        frames: list[bytes] = []
        if whole:
            pattern = self._pattern
            with memoryview(memory) as view, view[: whole * slot] as part:
                for group in pattern.iter_unpack(part):
                    frames += group
        for start in self._offsets[whole:count]:
            frames.append(memory[start : start + size])
        return frames

    def _read(self, limit: int) -> int:
        """Post reads; return how many frames came, all of ``_size``.

        When they are not alike that is 0, and ``_sizes`` has the size of each
        slot's frame, 0 or less for none.
        """
        want = self._pace.want
        posted = want if want < limit else limit
        size, reads = self._size, self._reads
        count = reads.run_alike(posted, size)
        if count < 0:
            sizes = reads.results(posted)
            size = sizes[0]
            count = sizes.count(size)
            alike = count == posted or (
                # Frames and then nothing more, as at the end of a burst.
                count + sizes.count(NOTHING) == posted
                and sizes[:count].count(size) == count
            )
            if not 0 < size < self._slot or not alike:
                self._sizes = self._mixed(sizes)
                return 0
            self._set_size(size)
        self._sizes = []
        self.drained = count < posted
        if self.drained:
            self._pace.end(count)
        else:
            self._pace.full(count)
        counters = self._counters
        counters.received += count
        counters.received_bytes += count * size
        return count

    def _set_size(self, size: int) -> None:
        """Have a struct and views ready for frames of this size."""
        found = self._alike.get(size)
        if found is None:
            pattern = struct.Struct(f"{size}s{self._slot - size}x" * GROUP)
            views = [slot[:size] for slot in self._slots]
            found = self._alike[size] = (pattern, views)
            if len(self._alike) > SIZES:
                self._alike.popitem(last=False)
        self._size = size
        self._pattern, self._views = found

    def _mixed(self, sizes: list[int]) -> list[int]:
        """Results of several sizes, or with errors or cut off frames in them."""
        if min(sizes) > 0 and max(sizes) < self._slot:
            self._pace.full(len(sizes))
            self.drained = False
            self.count_received(len(sizes), sum(sizes))
            return sizes
        errors = [-size for size in sizes if size < 0]
        for index, size in enumerate(sizes):
            if size >= self._slot:
                self._counters.dropped += 1
                sizes[index] = 0
        good = [size for size in sizes if size > 0]
        if errors and not good and errors[0] not in AGAIN:
            raise failed(self._linkstr, errors[0])
        self.drained = bool(errors)
        if errors:
            self._pace.end(len(sizes) - len(errors))
        else:
            self._pace.full(len(sizes))
        self.count_received(len(good), sum(good))
        return sizes

    def close(self) -> None:
        self._alike = OrderedDict()
        self._slots = self._views = []
        self._reads.close()
        self._writes.close()


class UringIo(BatchIo):
    """By io_uring.

    Needs Linux 6.4, whose TAP driver does not wait when it is told so
    (FMODE_NOWAIT).
    """

    name = "uring"
    kind = Batch
    pace = Pace

    def __init__(
        self, linkstr: str, fd: int, max_frame: int, counters: Counters
    ) -> None:
        super().__init__(linkstr, fd, max_frame, counters)
        try:
            self._probe()
        except BaseException:
            self.close()
            raise

    def _probe(self) -> None:
        """See whether the driver does not wait when it is told so.

        By a frame of one octet, which no TAP takes: there is nothing to undo.
        """
        self._writes.set_lengths([1])
        if -self._writes.run(1)[0] == errno.EOPNOTSUPP:
            cause = "the kernel's TAP driver waits even when told not to"
            remedy = "use Linux 6.4 or later, or io='plain'"
            raise UnsupportedError(self._linkstr, cause, remedy)


class WalkIo(BatchIo):
    """By plain calls that libc walks along. Needs thunks."""

    name = "walk"
    kind = WalkBatch
    pace = Steady
