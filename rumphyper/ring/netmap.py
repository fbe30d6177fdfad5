"""One netmap ring over mapped memory: whose its slots are, and what they hold.

The application owns the slots from ``head`` to ``tail``: in a tx ring they are
free to be filled, in an rx ring they hold frames. It gives them back in order,
by moving ``head``. ``cur`` may run ahead of it: slots up to there are in use (a
view of their frames is lent, say), and poll(2) waits for slots beyond.

Everything here is about whole batches: the cost is per call, and per slot only
in C loops (slices, bytes methods). Nothing here opens, maps or calls the
kernel. Facts: netmap sys/net/netmap.h, netmap_user.h; nm_txsync_prologue in
netmap.c.

What is read from the memory may have been written by another process. Where
the ring is, is read once. Indices are compared with what was stored last, and
lengths and buffer numbers are checked before they are used. CorruptError names
the ring and the value.
"""

from __future__ import annotations

import sys
from mmap import mmap

from rumphyper.errors import CorruptError, UnsupportedError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap_slots import Limits

MOST_SLOTS = 1 << 20
_LOW_FIRST = sys.byteorder == "little"
REMEDY = "close the port and open it again; let no other process use its rings"


class Ring:
    """The application's side of the ring at octet ``offset`` of ``memory``.

    ``tx`` tells which way it goes (the field dir is not what the header says).
    ``buffers`` is how many there are in the region, when it is known; otherwise
    as many as the mapping has room for. ``csb`` is a view of the ring's entry
    in nm_csb_atok and one of that in nm_csb_ktoa, where the port is in CSB
    mode: there the indices are kept then. ``vale`` tells that the ring is one
    of a VALE port, whose slots name ports in their flags.

    Raises CorruptError for a header that cannot be right, UnsupportedError
    where frames do not start with their buffers. `release_views` lets go of
    the memory.
    """

    def __init__(
        self,
        memory: mmap,
        offset: int,
        name: str = "netmap ring",
        *,
        tx: bool,
        buffers: int | None = None,
        csb: tuple[memoryview, memoryview] | None = None,
        vale: bool = False,
    ) -> None:
        self.memory = memory
        self.name = name
        self.vale = vale
        size = len(memory)
        if not 0 <= offset <= size - abi.SLOTS or offset % 8:
            raise self.corrupt("offset", offset)
        buf_ofs, slots, buf_size, number, _, head, cur, tail, _ = abi.RING.unpack_from(
            memory, offset
        )
        self.slots_at = offset + abi.SLOTS
        """Where in the memory the first slot is."""
        if not 2 <= slots <= MOST_SLOTS:
            raise self.corrupt("num_slots", slots)
        if self.slots_at + slots * abi.SLOT_SIZE > size:
            raise self.corrupt("num_slots", slots, "the slots end behind the memory")
        self.slots: int = slots
        """How many; one less can be owned at a time."""
        end = self.slots_at + (slots + 1) * abi.SLOT_SIZE
        self.places = list(range(self.slots_at, end, abi.SLOT_SIZE))
        """Where in the memory each slot is, and where the last one ends."""
        self.is_tx = tx
        self.number: int = number
        base = offset + buf_ofs
        room = (size - base) // buf_size if 64 <= buf_size <= 65536 else 0
        if base < 0 or room <= abi.FIRST_BUFFER:
            raise self.corrupt("buf_ofs and buf_size", f"{buf_ofs}, {buf_size}")
        if memory[offset + abi.OFFSET_MASK : offset + abi.OFFSET_MASK + 8] != bytes(8):
            raise UnsupportedError(
                name,
                "its frames do not start with their buffers (NETMAP_REQ_OPT_OFFSETS)",
                "have the port opened without that option",
            )
        self.buffers_at: int = base
        """Where in the memory buffer 0 is."""
        self.buf_size: int = buf_size
        self.limits = Limits(
            name, room if buffers is None else min(room, buffers), buf_size
        )
        octets = memoryview(memory)
        if csb is None:
            place = octets[offset : offset + abi.SLOTS]
            self._word = place[abi.HEAD : abi.HEAD + 8].cast("Q")
            self._tail = place[abi.TAIL : abi.TAIL + 4].cast("I")
        else:
            atok, ktoa = csb
            self._word = atok[abi.ATOK_HEAD : abi.ATOK_HEAD + 8].cast("Q")
            self._tail = ktoa[abi.KTOA_HWTAIL : abi.KTOA_HWTAIL + 4].cast("I")
        self._held: tuple[memoryview, ...] = (octets, self._word, self._tail)
        self.cur: int = cur
        if head >= slots or cur >= slots or tail >= slots:
            self.release_views()
            raise self.corrupt("head, cur and tail", f"{head}, {cur}, {tail}")
        self.stored = self._both(head, cur)
        """The word of head and cur that was stored last."""

    # -- indices -------------------------------------------------------------

    @property
    def head(self) -> int:
        """The first slot that is not the kernel's."""
        return self._split(self.stored)[0]

    def available(self) -> int:
        """How many slots are the application's and not in use: from cur to tail.

        Raises CorruptError when the indices are not what was stored last: the
        kernel has reset the ring, or another process uses it.
        """
        if self._word[0] != self.stored:
            raise self.moved()
        tail = self._tail[0]
        count = tail - self.cur
        if count < 0:
            count += self.slots
        if count < 0 or tail >= self.slots:
            raise self.corrupt("tail", tail)
        return count

    def advance(self, limit: int) -> int:
        """Give up to ``limit`` slots to the kernel; return how many.

        Of a tx ring they are to be sent, of an rx ring they are empty again;
        what is in use goes with them. The kernel looks at the next sync.
        Raises CorruptError as `available` does.
        """
        if self._word[0] != self.stored:
            raise self.moved()
        tail = self._tail[0]
        cur = self.cur
        slots = self.slots
        count = tail - cur
        if count < 0:
            count += slots
        if count < 0 or tail >= slots:
            raise self.corrupt("tail", tail)
        if count > limit:
            count = limit
        cur += count
        if cur >= slots:
            cur -= slots
        self.cur = cur
        self.stored = self._word[0] = cur | cur << 32
        return count

    def hold(self, limit: int) -> int:
        """Take up to ``limit`` slots into use, without giving them back yet."""
        count = min(self.available(), limit)
        self.cur = (self.cur + count) % self.slots
        self.stored = self._word[0] = self._both(self.head, self.cur)
        return count

    def release(self) -> None:
        """Give the slots that are in use to the kernel."""
        if self.head != self.cur:
            self.advance(0)

    def take(self, count: int) -> None:
        """Give exactly ``count`` slots to the kernel. ValueError: there are fewer."""
        if count > self.available():
            raise ValueError(f"{self.name}: {count} slots are not available")
        self.advance(count)

    def resume(self) -> None:
        """Go on with the indices that are in the memory, after a reset.

        Frames that were in the ring are lost. Raises CorruptError when they
        cannot be right.
        """
        word = self._word[0]
        head, cur = self._split(word)
        if head >= self.slots or cur >= self.slots:
            raise self.corrupt("head and cur", f"{head}, {cur}")
        self.cur, self.stored = cur, word

    def words(self) -> tuple[memoryview, memoryview]:
        """Views of head and cur, one word of 64 bits, and of tail, one of 32."""
        return self._word, self._tail

    @staticmethod
    def _both(head: int, cur: int) -> int:
        """The 64-bit word that is head and then cur."""
        return head | cur << 32 if _LOW_FIRST else cur | head << 32

    @staticmethod
    def _split(word: int) -> tuple[int, int]:
        """head and cur of that word."""
        low, high = word & 0xFFFFFFFF, word >> 32
        return (low, high) if _LOW_FIRST else (high, low)

    def runs(self, count: int) -> list[tuple[int, int]]:
        """Octet ranges in the memory of the next ``count`` slots: one, or two."""
        begin, size = self.slots_at, abi.SLOT_SIZE
        first = min(count, self.slots - self.cur)
        at = begin + self.cur * size
        runs = [(at, at + first * size)]
        if first < count:
            runs.append((begin, begin + (count - first) * size))
        return runs

    # -- errors and the end ----------------------------------------------------

    def moved(self) -> CorruptError:
        """The error for indices that somebody else has changed."""
        head, cur = self._split(self._word[0])
        return CorruptError(
            self.name,
            f"head and cur were left at {self.head} and {self.cur} and are {head} and "
            f"{cur}: the kernel has reset the ring, or another process uses it",
            REMEDY,
        )

    def corrupt(self, field: str, value: object, why: str = "") -> CorruptError:
        """The error for a value that cannot be right."""
        cause = f"{field} is {value}" + (f": {why}" if why else "")
        return CorruptError(self.name, cause, REMEDY)

    def release_views(self) -> None:
        """Let go of the memory; the ring cannot be used any more. Idempotent."""
        for view in reversed(self._held):
            view.release()

    def __repr__(self) -> str:
        kind = "tx" if self.is_tx else "rx"
        return f"<Ring {self.name} {kind} {self.number} of {self.slots} slots>"
