"""The descriptor rings of Intel's e1000 family, as code over any buffers.

A ring is an array of descriptors that driver and device share, each with a slot of
`SLOT` octets for one frame. The driver fills descriptors up to the tail, which it
tells the device by a register; the device takes them in order and marks each with
`DONE`. Head and tail equal means that the device has none, so one is always left.

A descriptor is two little-endian words of 64 bits. The first is the slot's address
on the bus. The second, of the legacy formats, has (lowest bits first)

    received:  length 16, checksum 16, status 8, errors 8, tag 16
    to send:   length 16, checksum offset 8, command 8, status 8, start 8, tag 16

Source: Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
Manual, 3.2.3 and 3.3.3; Linux, struct e1000_rx_desc and e1000_tx_desc.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from itertools import islice, repeat
from struct import Struct

from rumphyper.errors import CorruptError

DESCRIPTOR = 16
SLOT = 2048
"""Octets for one frame, the device's default; frames have up to 1,522."""

LEAST, MOST, STEP = 8, 4096, 8
"""Descriptors of a ring: at least, at most, and a multiple of."""

SHORTEST = 14
"""A frame without an Ethernet header is none."""

DONE = 1 << 32
_LENGTH = 0xFFFF
_END = 1 << 33
_ERRORS = 0x97 << 40
"""CRC, symbol, sequence, carrier and receive errors; not those of checksums."""
_LOOK = DONE | _END | _ERRORS
_WHOLE = DONE | _END

_COMMAND = (0x01 | 0x02) << 24
"""End of packet; insert the CRC."""
_REPORT = 0x08 << 24


def memory(size: int) -> int:
    """Octets that a ring's descriptors take, and as many slots."""
    return size * (DESCRIPTOR + SLOT)


class _Ring:
    """``area`` has the descriptors, then the slots, and is at ``bus``.

    It holds `memory` of ``size`` octets.
    """

    def __init__(self, thing: str, area: memoryview, bus: int, size: int) -> None:
        self.thing = thing
        self.size = size
        self.bus = bus
        self.octets = size * DESCRIPTOR
        self._words = area[: self.octets].cast("Q")
        self._results = self._words[1::2]
        self._area = area[self.octets : memory(size)]
        # What all descriptors are before they are used.
        first = bus + self.octets
        fresh = array("Q", bytes(self.octets))
        fresh[0::2] = array("Q", range(first, first + size * SLOT, SLOT))
        self._fresh = memoryview(fresh)
        self._words[:] = self._fresh
        self.tail = 0
        """The device owns the descriptors before this one."""


class TxRing(_Ring):
    """Frames on their way out."""

    def __init__(self, thing: str, area: memoryview, bus: int, size: int) -> None:
        super().__init__(thing, area, bus, size)
        self._head = 0
        self._reports: deque[int] = deque()
        """The descriptors that the device was asked to mark."""
        self._offsets = range(0, size * SLOT, SLOT)
        # Fills up the slot with zeros, in C; nothing is made on the way.
        self._store = Struct(f"{SLOT}s").pack_into

    def put(self, frames: Sequence[bytes | bytearray]) -> int:
        """Store frames of up to `SLOT` octets; return how many had room.

        The device learns of them by the new `tail`.
        """
        room = self._room()
        if room < len(frames):
            self._reclaim()
            room = self._room()
        taken = done = min(len(frames), room)
        if taken:
            queue = iter(frames)
            while done:
                # A report for every quarter of the ring: room comes back in time.
                count = min(done, self.size - self.tail, max(self.size // 4, 1))
                self._fill(list(islice(queue, count)))
                done -= count
        return taken

    @property
    def idle(self) -> bool:
        """Whether the device has sent everything."""
        self._reclaim()
        return not self._reports

    def _room(self) -> int:
        return self.size - 1 - (self.tail - self._head) % self.size

    def _fill(self, frames: list[bytes | bytearray]) -> None:
        start = self.tail
        end = start + len(frames)
        stored = map(self._store, repeat(self._area), self._offsets[start:end], frames)
        deque(stored, 0)
        orders = array("Q", [_COMMAND | len(frame) for frame in frames])
        orders[-1] |= _REPORT
        self._results[start:end] = memoryview(orders)
        self._reports.append(end - 1)
        self.tail = end % self.size

    def _reclaim(self) -> None:
        """Take back what the device has sent."""
        reports = self._reports
        while reports and self._results[reports[0]] & DONE:
            self._head = (reports.popleft() + 1) % self.size


class RxRing(_Ring):
    """Frames that have come in.

    What `take` returns is lent: it lies in the slots until `give_back`.
    """

    def __init__(self, thing: str, area: memoryview, bus: int, size: int) -> None:
        super().__init__(thing, area, bus, size)
        self._next = 0
        self._lent = 0
        self._slots = [self._area[at : at + SLOT] for at in range(0, size * SLOT, SLOT)]
        self.tail = size - 1
        self.dropped = 0
        """Frames that came with an error, or too short."""

    def take(self, limit: int) -> list[memoryview]:
        """Up to ``limit`` frames, in order; fewer, or none, may come than are there.

        Raises CorruptError for a descriptor that cannot be: a device that is
        broken, or is none.
        """
        start = self._next
        owned = (self.tail - start) % self.size
        end = min(start + min(limit, owned), self.size)
        results, slots = self._results, self._slots
        frames: list[memoryview] = []
        place = start
        while place < end:
            result = results[place]  # once: the device may write again
            length = result & _LENGTH
            if result & _LOOK == _WHOLE and SHORTEST <= length <= SLOT:
                frames.append(slots[place][:length])
            elif not result & DONE:
                break
            elif not result & _END or length > SLOT:
                if frames:
                    break  # first hand on what is good
                raise self._corrupt(place, result)
            else:
                self.dropped += 1
            place += 1
        self._lent += place - start
        self._next = place % self.size
        return frames

    @property
    def waiting(self) -> bool:
        """Whether `take` would find a descriptor that is done."""
        return self._next != self.tail and bool(self._results[self._next] & DONE)

    def give_back(self) -> bool:
        """Give the device what was taken, by a new `tail`; false if nothing was."""
        if not self._lent:
            return False
        start, end = (self._next - self._lent) % self.size, self._next
        if start < end:
            self._renew(start, end)
        else:
            self._renew(start, self.size)
            self._renew(0, end)
        self._lent = 0
        self.tail = (end - 1) % self.size
        return True

    def _renew(self, start: int, end: int) -> None:
        self._words[2 * start : 2 * end] = self._fresh[2 * start : 2 * end]

    def _corrupt(self, place: int, result: int) -> CorruptError:
        length, status = result & _LENGTH, result >> 32 & 0xFF
        cause = (
            f"receive descriptor {place} has length {length} and status {status:#04x}"
            f", a whole frame has up to {SLOT} octets and status 0x03"
        )
        return CorruptError(self.thing, cause, "reset the device: open it again")
