"""Both sides of Xen's rings over plain memory, and a domain that copies grants."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif import Ring
from rumphyper.ring.netif_back import Packet, RxBack, TxBack
from rumphyper.ring.netif_rx import RxFront
from rumphyper.ring.netif_tx import TxFront


def memory(pages: int) -> mmap.mmap:
    return mmap.mmap(-1, pages * abi.PAGE)


class Vif:
    """A front end and a back end, each with its own view of the shared pages."""

    def __init__(self, slots: int = 8, tx_pages: int = 8, rx_pages: int = 8) -> None:
        self.slots, self.tx_pages, self.rx_pages = slots, tx_pages, rx_pages
        self.tx_page, self.rx_page = memory(1), memory(1)
        self.tx_pool, self.rx_pool = memory(self.tx_pages), memory(self.rx_pages)
        self.tx_refs = [1000 + number for number in range(self.tx_pages)]
        self.rx_refs = [5000 + number for number in range(self.rx_pages)]
        tx, rx = self._ring("tx", True), self._ring("rx", True)
        self.tx = TxFront(tx, self.tx_pool, self.tx_refs)
        self.rx = RxFront(rx, self.rx_pool, self.rx_refs)
        self.tx_back = TxBack(self._ring("tx", False))
        self.rx_back = RxBack(self._ring("rx", False))

    def _ring(self, way: str, front: bool) -> Ring:
        page = self.tx_page if way == "tx" else self.rx_page
        entry = abi.TX_ENTRY if way == "tx" else abi.RX_ENTRY
        return Ring(page, entry, f"vif/0 {way}", front=front, slots=self.slots)

    def content(self, packet: Packet) -> bytes:
        """What a back end reads from the pages of a packet."""
        parts: list[bytes] = []
        for ref, offset, size in packet.segments:
            at = self.tx_refs.index(ref) * abi.PAGE + offset
            assert offset + size <= abi.PAGE
            parts.append(self.tx_pool[at : at + size])
        return b"".join(parts)

    def give(self, frames: Sequence[bytes], offset: int = 0) -> int:
        """Have the back end put frames, in as many pages as each takes."""
        room = abi.PAGE - offset
        for index, frame in enumerate(frames):
            parts = [frame[at : at + room] for at in range(0, len(frame), room)]
            lent = self.rx_back.lent(len(parts))
            if len(lent) < len(parts):
                return index
            entries = []
            for number, ((which, ref), part) in enumerate(
                zip(lent, parts, strict=True)
            ):
                at = self.rx_refs.index(ref) * abi.PAGE + offset
                self.rx_pool[at : at + len(part)] = part
                flags = abi.RX_MORE_DATA if number + 1 < len(parts) else 0
                entries.append((which, offset, flags, len(part)))
            self.rx_back.respond(entries)
        return len(frames)
