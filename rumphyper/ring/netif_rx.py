"""The front end's receive ring: pages lent to the back end, frames copied out.

The pages stay granted, so the back end can change them at any time: what is
handed on is always a copy, made after offset and size were checked. Facts: Xen
xen/include/public/io/netif.h; Linux drivers/net/xen-netfront.c
(xennet_get_responses).
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import attrs

from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring


@attrs.define(eq=False)
class Arrived:
    """What one look at the ring found."""

    frames: list[bytes] = attrs.field(factory=list)
    blank: list[int] = attrs.field(factory=list)
    """Places in ``frames`` of those whose checksum is left to the receiver."""
    dropped: int = 0
    """Frames that the back end began and could not give."""


class RxFront:
    """Receives by ``ring`` into ``pool``, whose page N was granted as ``refs[N]``."""

    def __init__(self, ring: Ring, pool: mmap.mmap, refs: Sequence[int]) -> None:
        self.ring = ring
        self._pool = pool
        request = abi.several(abi.RX_REQUEST, 1)
        self._requests = [request.pack(page, ref) for page, ref in enumerate(refs)]
        self._free = list(range(min(len(refs), ring.slots)))
        self._flying = bytearray(len(refs))
        self._layout = abi.several(abi.RX_RESPONSE, 1)
        self._parts: list[bytes] = []
        """The beginning of a frame whose rest has not arrived."""
        self._broken = self._blank = False

    def post(self) -> int:
        """Put requests for all pages that are free; return how many."""
        count = min(len(self._free), self.ring.room())
        ids = self._free[:count]
        del self._free[:count]
        for number in ids:
            self._flying[number] = 1
        self.ring.put(b"".join([self._requests[number] for number in ids]), count)
        return count

    @property
    def in_flight(self) -> int:
        """Requests that have no response yet."""
        return sum(self._flying)

    def take(self, limit: int) -> Arrived:
        """Up to ``limit`` frames that have arrived.

        CorruptError: a response to what was not asked or was answered before, one
        that leaves its page, a frame of too many entries or octets.
        """
        arrived = Arrived()
        frames = arrived.frames
        count = self.ring.available()
        if not count:
            return arrived
        pool, page, flying = self._pool, abi.PAGE, self._flying
        done: list[int] = []
        octets = self.ring.peek(count)
        for number, offset, flags, status in self._layout.iter_unpack(octets):
            if number >= len(flying) or not flying[number]:
                raise self._corrupt("id of a response", number, "it is not in flight")
            flying[number] = 0
            done.append(number)
            if status > page - offset:
                value = f"{offset} + {status}"
                raise self._corrupt("offset + size", value, "it leaves its page")
            at = number * page + offset
            if flags & ~abi.RX_DATA_VALIDATED or status <= 0 or self._parts:
                if self._part(flags, status, pool[at : at + max(0, status)]):
                    continue
                self._whole(arrived)
            else:
                frames.append(pool[at : at + status])
            if len(frames) >= limit:
                break
        self.ring.consume(len(done))
        self._free += done
        return arrived

    def _part(self, flags: int, status: int, octets: bytes) -> bool:
        """Keep a part of a frame; true when more of it is to come."""
        if flags & abi.RX_EXTRA_INFO:
            raise self._corrupt("flags", f"{flags:#x}", abi.EXTRA)
        if not self._parts:
            self._broken, self._blank = False, bool(flags & abi.RX_CSUM_BLANK)
        self._broken |= status <= 0
        self._parts.append(octets)
        if len(self._parts) > abi.MOST_SLOTS:
            raise self._corrupt("entries of a frame", len(self._parts), "too many")
        return bool(flags & abi.RX_MORE_DATA)

    def _whole(self, arrived: Arrived) -> None:
        """A frame's last part has come."""
        frame = b"".join(self._parts)
        self._parts = []
        if self._broken:
            arrived.dropped += 1
            return
        if len(frame) > abi.MOST_OCTETS:
            raise self._corrupt("octets of a frame", len(frame), "too many")
        if self._blank:
            arrived.blank.append(len(arrived.frames))
        arrived.frames.append(frame)

    def _corrupt(self, field: str, value: object, why: str) -> Exception:
        return self.ring.corrupt(field, value, why)
