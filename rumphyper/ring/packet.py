"""TPACKET_V3: blocks of frames that the kernel fills and hands over whole.

Code over any buffer. Facts: Linux include/uapi/linux/if_packet.h and
net/packet/af_packet.c (prb_open_block, prb_close_block).
"""

from __future__ import annotations

import struct

from typing_extensions import Buffer

from rumphyper.errors import CorruptError

BLOCK = struct.Struct("=IIIIII")
"""struct tpacket_block_desc: version, offset of private octets, status, number of
frames, offset of the first, octets in use."""

STATUS_AT = 8
FRAME = struct.Struct("=I8xIIIH6xIH")
"""struct tpacket3_hdr: offset of the next one, (time,) octets captured, octets of the
frame, status, offset of its link header, (of its network header, hash,) VLAN's TCI and
TPID."""

HEADER = 48
"""Octets of struct tpacket3_hdr with its padding."""

KERNEL, USER = 0, 1
_STATUS = struct.Struct("=I")


Record = tuple[int, int, int, int, int, int]
"""A frame in the ring: where it starts, its octets there, those that it had (more when
it was cut off), its status and its VLAN's TCI and TPID."""


class PacketRing:
    """The reader's end: the blocks of a mapping, in turn.

    ``headroom`` is the octets in front of each frame that belong to it (a
    virtio-net header). Raises CorruptError for anything out of its block.
    """

    def __init__(
        self, name: str, memory: Buffer, block_size: int, blocks: int, headroom: int = 0
    ) -> None:
        self.name = name
        self.memory = memoryview(memory)
        self.block_size = block_size
        self.blocks = blocks
        self.headroom = headroom
        self._block = 0
        self._end = 0
        """Where the block at hand ends; 0 when there is none."""

        self._next = self._left = 0
        """Where its next frame's header is, and how many frames are left."""

    @property
    def held(self) -> bool:
        """Whether a block is ours although all of its frames were taken."""
        return bool(self._end) and not self._left

    def take(self, limit: int) -> list[Record]:
        """Up to ``limit`` frames of the block at hand; none when there is none.

        When it was the last of its frames the block is `held` until `release`.
        """
        if self.held:
            self.release()
        if not self._end and not self._open():
            return []
        unpack, memory = FRAME.unpack_from, self.memory
        at, end = self._next, self._end
        low, high, least = end - self.block_size, end - HEADER, HEADER + self.headroom
        found: list[Record] = []
        count = min(limit, self._left)
        for _ in range(count):
            if not low < at <= high:
                raise self._corrupt("a frame", f"is at {at - low}")
            following, size, length, status, link, tci, tpid = unpack(memory, at)
            start = at + link
            if link < least or start + size > end:
                raise self._corrupt("a frame", f"{size} octets at {link}")
            found.append((start, size, length, status, tci, tpid))
            at += following
        self._next, self._left = at, self._left - count
        return found

    def _open(self) -> bool:
        """Look at the next block; true when it is the reader's."""
        start = self._block * self.block_size
        _, _, status, count, first, used = BLOCK.unpack_from(self.memory, start)
        if not status & USER:
            return False
        if used > self.block_size or count > self.block_size // HEADER:
            raise self._corrupt("block", f"{count} frames in {used} octets")
        self._left, self._next = count, start + first
        self._end = start + self.block_size
        return True

    def release(self) -> None:
        """Give the block back to the kernel, read or not."""
        if not self._end:
            return
        self._end = self._left = 0
        at = self._block * self.block_size + STATUS_AT
        _STATUS.pack_into(self.memory, at, KERNEL)
        self._block = (self._block + 1) % self.blocks

    def close(self) -> None:
        """Let go of the memory."""
        self.memory.release()

    def _corrupt(self, what: str, value: str) -> CorruptError:
        cause = f"block {self._block}, {what}: {value}, out of the block"
        return CorruptError(self.name, cause, "close the link and open it again")
