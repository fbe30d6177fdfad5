"""Frames from a packet socket's receive ring: TPACKET_V3.

No system call a frame, and a burst of many blocks waits without loss; but the
kernel hands a block over when it is full or its time is up, so a lone frame
comes later than by recvmmsg(2).
"""

from __future__ import annotations

import contextlib
import mmap
import socket

from typing_extensions import Buffer

from rumphyper.host.libc import from_oserror
from rumphyper.link import packet_abi as abi
from rumphyper.link.packet_offload import Aside, restore
from rumphyper.net.vnet import HEADER, NOTHING_LEFT
from rumphyper.ring.packet import PacketRing, Record

BLOCK = 1 << 18
"""Octets of a block; a frame that the kernel has joined must fit (64 KiB)."""

FRAME = 2048
"""What the kernel wants to know of a frame's size; V3 does not use it."""

TIMEOUT = 1
"""Milliseconds until a block that is not full is handed over."""


class RingBox:
    """Receives frames from the ring of a packet socket."""

    def __init__(self, linkstr: str, end: socket.socket, octets: int) -> None:
        """Make a ring of about so many ``octets``. Raises HostError."""
        blocks = max(2, octets // BLOCK)
        size = blocks * BLOCK
        request = abi.RING_REQUEST.pack(
            BLOCK, blocks, FRAME, size // FRAME, TIMEOUT, 0, 0
        )
        remedy = "use a smaller buffer, or io='mmsg'"
        try:
            end.setsockopt(abi.SOL_PACKET, abi.PACKET_RX_RING, request)
            self._memory = mmap.mmap(end.fileno(), size)
        except OSError as error:
            raise from_oserror(error, f"receive ring of {linkstr}", remedy) from None
        self._ring = PacketRing(linkstr, self._memory, BLOCK, blocks, HEADER.size)
        with memoryview(self._memory) as whole:
            self._octets = whole.toreadonly()
        self._lent: list[memoryview] = []

    def recv(self, limit: int, views: bool) -> tuple[list[Buffer], int, bool]:
        """Take up to ``limit`` frames: those, how many were lost, if all came."""
        self._give_back()
        ring, frames, lost = self._ring, list[Buffer](), 0
        while len(frames) < limit:
            records = ring.take(limit - len(frames))
            if not records:
                return frames, lost, True
            for record in records:
                found = self._frames(record, views)
                lost += not found
                frames += found
            if ring.held:
                if views:
                    break
                ring.release()
        return frames, lost, False

    def _frames(self, record: Record, views: bool) -> list[Buffer]:
        at, end = record.at, record.at + record.size
        header = self._memory[at - HEADER.size : at]
        plain = header[:1] in b"\0\2" and not header[1]
        tagged = record.status & abi.STATUS_VLAN_VALID
        if record.size < record.length:
            return []
        if not plain or tagged:
            header = NOTHING_LEFT if plain else header
            aside = Aside(record.status, record.tci, record.tpid)
            return list(restore(header, self._memory[at:end], aside))
        if not views:
            return [self._memory[at:end]]
        self._lent.append(self._octets[at:end])
        return [self._lent[-1]]

    def _give_back(self) -> None:
        """Take back what the last call lent."""
        for view in self._lent:
            view.release()
        self._lent.clear()
        if self._ring.held:
            self._ring.release()

    def close(self) -> None:
        """Unmap the ring. Idempotent."""
        for view in self._lent:
            view.release()
        self._lent.clear()
        self._octets.release()
        self._ring.close()
        with contextlib.suppress(BufferError):
            self._memory.close()
