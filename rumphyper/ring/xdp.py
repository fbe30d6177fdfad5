"""AF_XDP's rings: indices and entries in memory that is shared with the kernel.

Code over any buffer. One side produces, the other consumes; each index is one
side's to write and counts on without end (modulo 2**32). What is read from the
other side's is checked. Facts: Linux include/uapi/linux/if_xdp.h,
net/xdp/xsk_queue.h, Documentation/networking/af_xdp.rst.
"""

from __future__ import annotations

import mmap
import struct

import attrs

from rumphyper.errors import CorruptError

DESCRIPTOR = struct.Struct("=QII")
"""struct xdp_desc: address in the umem, octets, options."""

ADDRESS = struct.Struct("=Q")
"""An entry of the fill and the completion ring."""

NEED_WAKEUP = 1
WORD = 0xFFFFFFFF


@attrs.frozen
class Offsets:
    """Where a ring's parts are in its mapping."""

    producer: int
    consumer: int
    entries: int
    flags: int


class Ring:
    """One of the four rings, of a power of two of ``count`` entries.

    ``produces`` says which end is ours. Positions are indices modulo ``count``;
    entry p is the octets from ``at(p)`` on. For one thread at a time.
    """

    def __init__(
        self,
        name: str,
        memory: mmap.mmap | bytearray,
        offsets: Offsets,
        count: int,
        size: int,
        *,
        produces: bool,
    ) -> None:
        if count < 1 or count & (count - 1):
            raise ValueError("the number of entries is a power of two")
        self.name = name
        self.memory = memory
        self.count = count
        self.size = size
        self.entries = offsets.entries
        self._octets = memoryview(memory)
        self._words = self._octets[: len(memory) // 4 * 4].cast("I")
        ours, theirs = offsets.producer // 4, offsets.consumer // 4
        self._ours, self._theirs = (ours, theirs) if produces else (theirs, ours)
        self._flags = offsets.flags // 4
        self._produces = produces
        self.index = self._words[self._ours]
        """Our index: the next entry to produce or to consume."""

    @property
    def position(self) -> int:
        """Where the next entry of ours is."""
        return self.index & (self.count - 1)

    def at(self, position: int) -> int:
        """The offset in memory of an entry."""
        return self.entries + position * self.size

    def available(self) -> int:
        """How many entries may be produced or consumed now.

        Raises CorruptError when the other side's index cannot be.
        """
        theirs = self._words[self._theirs]
        used = (self.index - theirs if self._produces else theirs - self.index) & WORD
        if used > self.count:
            which = "consumer" if self._produces else "producer"
            cause = f"{which} is {theirs} while ours is {self.index}"
            cause += f", the ring has {self.count} entries"
            raise CorruptError(self.name, cause, "close the link and open it again")
        return self.count - used if self._produces else used

    def advance(self, count: int) -> None:
        """Hand over ``count`` entries, produced or consumed."""
        self.index = (self.index + count) & WORD
        self._words[self._ours] = self.index

    @property
    def needs_wakeup(self) -> bool:
        """Whether the kernel wants to be called for its end to go on."""
        return bool(self._words[self._flags] & NEED_WAKEUP)

    def close(self) -> None:
        """Let go of the memory."""
        self._words.release()
        self._octets.release()
