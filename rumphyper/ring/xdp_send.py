"""Frames into a umem for AF_XDP's transmit ring, in batches, and what has gone.

Entry p of the ring sends from place p of one of four regions: for short frames of one
size places lie close together, so that a batch is one copy of the frames joined; all
others have a chunk each. As long as the kernel completes in order, a run of
completions is checked by one comparison with what was handed over.
"""

from __future__ import annotations

import mmap
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

from typing_extensions import Buffer

from rumphyper.errors import CorruptError
from rumphyper.ring.slots import SIZES, Slots
from rumphyper.ring.xdp import ADDRESS, DESCRIPTOR, Ring

DENSE = (64, 128, 256)
"""Octets from one place to the next in the regions for short frames: divisors of a
chunk, whose border no frame may cross (xp_aligned_validate_desc)."""


def space(count: int, chunk: int) -> int:
    """Octets of a sender's memory for a ring of so many entries."""
    return count * (chunk + sum(DENSE))


class Sender:
    """Frames that go by a transmit ring.

    It has the `space` octets of ``umem`` from ``start`` on; ``tx`` and ``done``, the
    completion ring, have equally many entries. For one thread at a time.
    """

    def __init__(
        self, tx: Ring, done: Ring, umem: mmap.mmap, chunk: int, start: int
    ) -> None:
        self.tx = tx
        self.done = done
        self.umem = umem
        count = tx.count
        self.slots = Slots(umem, start, chunk, count)
        steps = (chunk, *DENSE)
        starts = accumulate((count * step for step in steps[:-1]), initial=start)
        self._regions = dict(zip(steps, starts, strict=True))
        self._chunk = chunk
        self._images: OrderedDict[tuple[int, int], tuple[bytes, bytes]] = OrderedDict()
        self._flying = bytearray(count * ADDRESS.size)
        """The address that each entry of the ring was last handed over with."""

        with memoryview(tx.memory) as whole:
            entries = whole[tx.entries : tx.at(count)].cast("I")
            self._lengths = entries[2 :: tx.size // 4]
        self._alike = self._run = 0
        self._free = count
        self._early: set[int] = set()
        self._oldest = tx.index
        self._filled: bytes | None = None

    # -- handing over --------------------------------------------------------

    def put(self, frames: Sequence[Buffer], sizes: Sequence[int]) -> int:
        """Put frames into the ring; return how many there was room for.

        There may be more: a batch ends where the ring's array does. Raises one of
        `STRANGE`, having sent nothing, when a frame has not the octets of its size.
        """
        self._filled = None
        position = self.tx.position
        count = min(self.room(len(sizes)), len(sizes), self.tx.count - position)
        if not count:
            return 0
        if count < len(sizes):
            frames, sizes = frames[:count], sizes[:count]
        step = self._step(sizes)
        if step == self._chunk:
            self.slots.put(position, frames, sizes)
        else:
            joined = bytes(step - sizes[0]).join(frames)
            at = self._regions[step] + position * step
            # Refused unless it is as long as all sizes are.
            self.umem[at : at + (count - 1) * step + sizes[0]] = joined
        self._describe(position, sizes, step)
        self._hand_over(count)
        return count

    def repeat(self, frame: bytes, limit: int) -> int:
        """Put ``frame`` into the ring up to ``limit`` times; return how often.

        Its places are filled only once, when it is another frame than before.
        """
        if self._filled is not frame:
            if self.room(self.tx.count) < self.tx.count:
                return 0  # the kernel still reads some of them
            sizes = [len(frame)] * self.tx.count
            step = self._step(sizes)
            start, room = self._regions[step], self.tx.count * step
            self.umem[start : start + room] = frame.ljust(step, b"\0") * len(sizes)
            self._describe(0, sizes, step)
            self._filled = frame
        count = min(self.room(limit), limit)
        self._hand_over(count)
        return count

    def _step(self, sizes: Sequence[int]) -> int:
        """How far places for frames of these sizes are apart."""
        size = sizes[0]
        if size <= DENSE[-1] and sizes.count(size) == len(sizes):
            return next(step for step in DENSE if size <= step)
        return self._chunk

    def _describe(self, position: int, sizes: Sequence[int], step: int) -> None:
        """Write a run of entries, unless all of the ring is like that already."""
        size, count = sizes[0], len(sizes)
        alike = sizes.count(size) == count
        if not alike or size != self._alike:
            self._alike, self._run = size, 0
        elif self._run >= self.tx.count:
            return
        self._run += count if alike else 0
        entries, addresses = self._image(step, size)
        end, wide, tx = position + count, ADDRESS.size, self.tx
        tx.memory[tx.at(position) : tx.at(end)] = entries[
            position * tx.size : end * tx.size
        ]
        part = slice(position * wide, end * wide)
        self._flying[part] = addresses[part]
        if not alike:
            self._lengths[position:end] = memoryview(array("I", sizes))

    def _image(self, step: int, size: int) -> tuple[bytes, bytes]:
        """All entries with frames of this size, and their addresses alone."""
        image = self._images.get((step, size))
        if image is None:
            start = self._regions[step]
            places = range(start, start + self.tx.count * step, step)
            entries = b"".join(DESCRIPTOR.pack(at, size, 0) for at in places)
            image = entries, b"".join(map(ADDRESS.pack, places))
            self._images[step, size] = image
            if len(self._images) > SIZES:
                self._images.popitem(last=False)
        return image

    def _hand_over(self, count: int) -> None:
        self._free -= count
        self.tx.advance(count)

    def take_back(self, count: int) -> bool:
        """Take back the ``count`` entries that were put last; false if it is too late.

        For a kernel that has refused to look at the ring, which it then only does
        when it is called: not with zero copy. It must have had all before.
        """
        if self.tx.count - self.tx.available() != count:
            return False
        self._hand_over(-count)
        return True

    # -- what has gone -------------------------------------------------------

    def room(self, wanted: int) -> int:
        """How many entries are free; looks at the completions if those are too few.

        Raises CorruptError for completions that cannot be.
        """
        if self._free < wanted:
            while self._complete():
                pass
        return self._free

    def _complete(self) -> int:
        """Take a run of completions; return how many."""
        done = self.done
        first = done.position
        count = min(done.available(), done.count - first)
        if not count:
            return 0
        at, size = done.at(first), done.size
        octets = done.memory[at : at + count * size]
        expected = self._flying[first * size : (first + count) * size]
        flying = count <= self.tx.count - self._free
        if octets != expected or self._early or not flying:
            self._out_of_order(octets)
        else:
            self._oldest += count
            self._free += count
        done.advance(count)
        return count

    def _out_of_order(self, octets: bytes | bytearray) -> None:
        """Note each entry that was sent; those behind one that was not stay taken."""
        count, early = self.tx.count, self._early
        flying = count - self._free
        oldest = self._oldest % count
        for (address,) in ADDRESS.iter_unpack(octets):
            place = self._place(address)
            if place is None or place in early or (place - oldest) % count >= flying:
                cause = f"{address:#x} is complete, which was not being sent"
                remedy = "close the link and open it again"
                raise CorruptError(self.done.name, cause, remedy)
            early.add(place)
        while self._oldest % count in early:
            early.remove(self._oldest % count)
            self._oldest += 1
            self._free += 1

    def _place(self, address: int) -> int | None:
        """The entry that was last handed over with this address."""
        for step, start in self._regions.items():
            place, rest = divmod(address - start, step)
            if 0 <= place < self.tx.count and not rest:
                (found,) = ADDRESS.unpack_from(self._flying, place * ADDRESS.size)
                return place if found == address else None
        return None

    def close(self) -> None:
        """Let go of the memory."""
        self._lengths.release()
        self.tx.close()
        self.done.close()
