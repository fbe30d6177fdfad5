"""The front end's transmit ring: frames out, by pages that stay granted.

A page of the pool goes with each id, so that nothing is granted or revoked per
frame. A frame of more than a page takes several requests; the size of the first
is that of the whole frame. Facts: Xen xen/include/public/io/netif.h; Linux
drivers/net/xen-netback/netback.c (xenvif_count_requests).
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring


class TxFront:
    """Sends by ``ring`` from ``pool``, whose page N was granted as ``refs[N]``."""

    def __init__(self, ring: Ring, pool: mmap.mmap, refs: Sequence[int]) -> None:
        self.ring = ring
        self._pool = pool
        self._refs = tuple(refs)
        head = abi.several("IHHH", 1)  # a request of a whole frame, but its size
        self._heads = [head.pack(ref, 0, 0, page) for page, ref in enumerate(refs)]
        self._sizes: dict[int, bytes] = {}
        self._free = list(range(len(refs)))
        self._flying: list[int] = []
        """Ids that have no response yet, the oldest first."""
        self._first: set[int] = set(self._free)
        """Ids whose last request was the first of a frame."""

    @property
    def in_flight(self) -> int:
        """Requests that have no response yet."""
        return len(self._flying)

    def send(self, frames: Sequence[Buffer]) -> int:
        """Put requests for frames; return for how many of them there was room.

        The frames are copied. `Ring.push` shows them to the back end.
        """
        free = self._free
        fit = min(len(frames), len(free), self.ring.room())
        pool, page, heads, sizes = self._pool, abi.PAGE, self._heads, self._sizes
        ids = free[:fit]
        parts: list[bytes] = []
        for number, frame in zip(ids, frames, strict=False):
            size = len(frame)  # type: ignore[arg-type]
            if size > page or type(frame) is not bytes:
                return self._slowly(frames)
            at = number * page
            pool[at : at + size] = frame
            parts.append(heads[number])
            last = sizes.get(size)
            if last is None:
                last = sizes[size] = abi.several("H", 1).pack(size)
            parts.append(last)
        del free[:fit]
        self._first.update(ids)
        self._flying += ids
        self.ring.put(b"".join(parts), fit)
        return fit

    def _slowly(self, frames: Sequence[Buffer]) -> int:
        """`send` for frames of any size and any type of buffer."""
        for index, frame in enumerate(frames):
            with memoryview(frame) as view:
                octets = view.tobytes()
            need = -(-len(octets) // abi.PAGE)
            if need > min(len(self._free), self.ring.room()):
                return index
            self._split(octets, need)
        return len(frames)

    def _split(self, octets: bytes, need: int) -> None:
        """Put the requests of one frame."""
        ids = self._free[:need]
        del self._free[:need]
        self._flying += ids
        self._first.difference_update(ids)
        self._first.add(ids[0])
        fields: list[int] = []
        for part, number in enumerate(ids):
            some = octets[part * abi.PAGE : (part + 1) * abi.PAGE]
            self._pool[number * abi.PAGE : number * abi.PAGE + len(some)] = some
            flags = abi.TX_MORE_DATA if part + 1 < need else 0
            size = len(some) if part else len(octets)
            fields += (self._refs[number], 0, flags, number, size)
        self.ring.put(abi.several(abi.TX_REQUEST, need).pack(*fields), need)

    def collect(self) -> int:
        """Take the responses there are; return how many frames were refused.

        CorruptError: a response to what was not asked, or was answered before.
        """
        count = self.ring.available()
        if not count:
            return 0
        layout = abi.several(abi.TX_RESPONSE, count)
        fields = layout.unpack(self.ring.peek(count))
        self.ring.consume(count)
        ids, statuses = fields[::2], fields[1::2]
        flying = self._flying
        if ids == tuple(flying[:count]):
            del flying[:count]
        else:  # in another order, which is allowed
            for number in ids:
                if number not in flying:
                    raise self.ring.corrupt(
                        "id of a response", number, "no request of that id is in flight"
                    )
                flying.remove(number)
        self._free += ids
        if not any(statuses):
            return 0
        refused = 0
        for number, status in zip(ids, statuses, strict=True):
            if status not in (abi.OKAY, abi.NULL, abi.ERROR, abi.DROPPED):
                raise self.ring.corrupt("status", status, "there is no such status")
            refused += status < 0 and number in self._first
        return refused
