"""The back end's side: what the front end sends, and the pages that it lends.

Which pages those are only the link can say: here are grant references, offsets
and sizes, checked. Facts: Xen xen/include/public/io/netif.h; Linux
drivers/net/xen-netback/netback.c (xenvif_count_requests), rx.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import attrs

from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring

Segment = tuple[int, int, int]
"""Grant reference, offset in its page, octets."""


@attrs.define
class Packet:
    """A frame that the front end sends, still in its pages."""

    ids: tuple[int, ...]
    segments: tuple[Segment, ...]
    blank: bool = False
    """Whether its checksum is left to whoever takes it."""


class TxBack:
    """Takes what a front end sends by its transmit ring."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self._layout = abi.several(abi.TX_REQUEST, 1)

    def take(self, limit: int) -> list[Packet]:
        """Up to ``limit`` frames; each wants a response to every one of its ids.

        CorruptError: a frame that does not add up, leaves its page, has too many
        entries or is not all there.
        """
        count = self.ring.available()
        packets: list[Packet] = []
        if not count:
            return packets
        requests = list(self._layout.iter_unpack(self.ring.peek(count)))
        at = 0
        while at < count and len(packets) < limit:
            ref, offset, flags, number, size = requests[at]
            if flags & ~(abi.TX_CSUM_BLANK | abi.TX_DATA_VALIDATED):
                packet = self._several(requests[at : at + abi.MOST_SLOTS + 1])
            else:
                self._within(offset, size)
                blank = bool(flags & abi.TX_CSUM_BLANK)
                packet = Packet((number,), ((ref, offset, size),), blank)
            packets.append(packet)
            at += len(packet.ids)
        self.ring.consume(at)
        return packets

    def _several(self, requests: list[tuple[int, ...]]) -> Packet:
        """The frame that these requests begin with."""
        ids: list[int] = []
        segments: list[Segment] = []
        for ref, offset, flags, number, size in requests:
            if flags & abi.TX_EXTRA_INFO:
                raise self.ring.corrupt("flags", f"{flags:#x}", abi.EXTRA)
            ids.append(number)
            segments.append((ref, offset, size))
            if not flags & abi.TX_MORE_DATA:
                break
        else:
            why = f"the frame has no end, or more than {abi.MOST_SLOTS} of them"
            raise self.ring.corrupt("entries of a frame", len(ids), why)
        if len(ids) > abi.MOST_SLOTS:
            raise self.ring.corrupt("entries of a frame", len(ids), "too many")
        ref, offset, whole = segments[0]
        first = whole - sum(size for _, _, size in segments[1:])
        segments[0] = (ref, offset, first)
        for _, offset, size in segments:
            self._within(offset, size)
        blank = bool(requests[0][2] & abi.TX_CSUM_BLANK)
        return Packet(tuple(ids), tuple(segments), blank)

    def _within(self, offset: int, size: int) -> None:
        if not 0 < size <= abi.PAGE - offset:
            value = f"{offset} + {size}"
            raise self.ring.corrupt("offset + size", value, "it is not within a page")

    def respond(self, ids: Sequence[int], statuses: Sequence[int]) -> None:
        """Put the responses to requests; `Ring.push` shows them."""
        count = len(ids)
        fields = chain.from_iterable(zip(ids, statuses, strict=True))
        self.ring.put(abi.several(abi.TX_RESPONSE, count).pack(*fields), count)


class RxBack:
    """Gives frames to a front end by its receive ring."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self._layout = abi.several(abi.RX_REQUEST, 1)

    def lent(self, limit: int) -> list[tuple[int, int]]:
        """Ids and grant references of up to ``limit`` pages, not taken yet."""
        count = min(limit, self.ring.available())
        return list(self._layout.iter_unpack(self.ring.peek(count)))

    def respond(self, entries: Sequence[tuple[int, int, int, int]]) -> None:
        """Take that many pages; put a response of id, offset, flags and octets."""
        count = len(entries)
        self.ring.consume(count)
        fields = chain.from_iterable(entries)
        self.ring.put(abi.several(abi.RX_RESPONSE, count).pack(*fields), count)
