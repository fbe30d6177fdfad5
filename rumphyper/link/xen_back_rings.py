"""The back end's side of a connection: the front end's pages, copied from and to.

Frames are copied by the hypervisor (GNTTABOP_copy), a batch a call; only the two
rings are mapped. So a front end that changes a page afterwards changes nothing.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Sequence

import attrs
from typing_extensions import Buffer

from rumphyper.link.base import ETHER_HEADER
from rumphyper.link.xen_rings import Rings
from rumphyper.net.blank import fill_checksum
from rumphyper.ring import netif_abi as abi
from rumphyper.ring.netif_back import Packet, RxBack, TxBack
from rumphyper.xen.evtchn import EventChannels
from rumphyper.xen.gntdev import GrantCopier, MappedGrants, Piece

MOST = 64
"""Frames a copy at most: the buffer has room for the longest of them."""
BUFFER = MOST << 16


@attrs.frozen
class Offer:
    """What a front end has written into its keys."""

    domain: int
    tx_ref: int
    rx_ref: int
    tx_port: int
    rx_port: int


class BackRings(Rings):
    """Rings that a front end has granted, mapped. Raises HostError."""

    def __init__(self, events: EventChannels, name: str, offer: Offer) -> None:
        super().__init__(events)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            pages = self.held.enter_context(
                MappedGrants(offer.domain, [offer.tx_ref, offer.rx_ref])
            )
            self._tx = TxBack(self.ring(pages.memory, 0, name, front=False))
            self._rx = RxBack(self.ring(pages.memory, 1, name, front=False))
            self._reader = self._copier(offer.domain)
            self._writer = self._copier(offer.domain)
            self.tx_port = self.rx_port = self._port(offer.domain, offer.tx_port)
            if offer.rx_port != offer.tx_port:
                self.rx_port = self._port(offer.domain, offer.rx_port)
            undo.pop_all()

    def _copier(self, domain: int) -> GrantCopier:
        copier = GrantCopier(domain, mmap.mmap(-1, BUFFER))
        self.held.callback(copier.close)
        return copier

    def _port(self, domain: int, theirs: int) -> int:
        port = self.events.bind_interdomain(domain, theirs)
        self.held.callback(self.unbind, port)
        return port

    # -- what the front end receives -------------------------------------------

    def send(self, frames: Sequence[Buffer]) -> int:
        taken = 0
        while taken < len(frames):
            some = self._give(frames[taken : taken + MOST])
            taken += some
            if not some:
                break
        if self._rx.ring.push():
            self.events.notify(self.rx_port)
        return taken

    def _give(self, frames: Sequence[Buffer]) -> int:
        """Copy up to `MOST` frames into lent pages; return how many."""
        octets = [bytes(frame) for frame in frames]
        need = [-(-len(frame) // abi.PAGE) for frame in octets]
        lent = self._rx.lent(sum(need))
        pieces: list[Piece] = []
        entries: list[tuple[int, int, int, int]] = []
        buffer, taken = self._writer.buffer, 0
        for index, frame in enumerate(octets):
            if len(entries) + need[index] > len(lent):
                break
            at = index << 16
            buffer[at : at + len(frame)] = frame
            for begin in range(0, len(frame), abi.PAGE):
                size = min(abi.PAGE, len(frame) - begin)
                number, ref = lent[len(entries)]
                more = abi.RX_MORE_DATA if begin + size < len(frame) else 0
                pieces.append((at + begin, ref, 0, size))
                entries.append((number, 0, more, size))
            taken += 1
        statuses = self._writer.write(pieces)
        if any(statuses):  # pages that were not granted, or no more
            self.dropped += sum(map(bool, statuses))
            entries = [
                (number, 0, flags, abi.ERROR if status else size)
                for (number, _, flags, size), status in zip(
                    entries, statuses, strict=True
                )
            ]
        self._rx.respond(entries)
        return taken

    # -- what the front end sends ------------------------------------------------

    def take(self, limit: int) -> list[bytes]:
        packets = self._tx.take(min(limit, MOST))
        if not packets:
            return []
        pieces: list[Piece] = []
        for index, packet in enumerate(packets):
            at = index << 16
            for ref, offset, size in packet.segments:
                pieces.append((at, ref, offset, size))
                at += size
        statuses = iter(self._reader.read(pieces))
        frames: list[bytes] = []
        ids: list[int] = []
        answers: list[int] = []
        for index, packet in enumerate(packets):
            its = [next(statuses) for _ in packet.segments]
            frame = b"" if any(its) else self._frame(packet, index << 16)
            ids += packet.ids
            status = abi.OKAY if frame else abi.ERROR
            answers += [status] * len(packet.ids)
            if frame:
                frames.append(frame)
            else:
                self.dropped += 1
        self._tx.respond(ids, answers)
        if self._tx.ring.push():
            self.events.notify(self.tx_port)
        return frames

    def _frame(self, packet: Packet, at: int) -> bytes:
        """A frame that was copied; none for one shorter than its header."""
        size = sum(size for _, _, size in packet.segments)
        if size < ETHER_HEADER:
            return b""
        frame = self._reader.buffer[at : at + size]
        return fill_checksum(frame) if packet.blank else frame

    def arm(self) -> bool:
        return self._tx.ring.arm()
