"""Frames from a packet socket's receive ring: TPACKET_V3.

No system call a frame, and a burst of many blocks waits without loss; but the
kernel hands a block over when it is full or its time is up, so a lone frame
comes later than by recvmmsg(2).
"""

from __future__ import annotations

import contextlib
import mmap
import socket
from collections.abc import Iterable

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

COMPLETE = (b"\0\0", b"\2\0")
"""Starts of virtio-net headers that leave nothing to do: none, DATA_VALID."""


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
            found, cut_off = self._frames(records, views)
            frames += found
            lost += cut_off
            if ring.held:
                if views:
                    break
                ring.release()
        return frames, lost, False

    def _frames(
        self, records: Iterable[Record], views: bool
    ) -> tuple[list[Buffer], int]:
        """The complete frames of these records, and how many were cut off."""
        memory, head, lost = self._memory, HEADER.size, 0
        frames: list[Buffer] = []
        for at, size, length, status, tci, tpid in records:
            header = memory[at - head : at]
            plain = header[:2] in COMPLETE
            if size < length:
                lost += 1
            elif not plain or status & abi.STATUS_VLAN_VALID:
                header = NOTHING_LEFT if plain else header
                octets = memory[at : at + size]
                found = restore(header, octets, Aside(status, tci, tpid))
                lost += not found
                frames += found
            elif views:
                self._lent.append(self._octets[at : at + size])
                frames.append(self._lent[-1])
            else:
                frames.append(memory[at : at + size])
        return frames, lost

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
