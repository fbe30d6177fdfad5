"""TPACKET_V3: blocks of frames that the kernel fills and hands over whole.

Code over any buffer. Facts: Linux include/uapi/linux/if_packet.h and
net/packet/af_packet.c (prb_open_block, prb_close_block).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs
from typing_extensions import Buffer

from rumphyper.errors import CorruptError

BLOCK = struct.Struct("=IIIIII")
"""struct tpacket_block_desc: version, offset of private octets, status, number of
frames, offset of the first, octets in use."""

STATUS_AT = 8
FRAME = struct.Struct("=IIIIIIHHIIH")
"""struct tpacket3_hdr: offset of the next one, seconds, nanoseconds, octets
captured, octets of the frame, status, offset of its link and network header, hash,
VLAN's TCI and TPID."""

HEADER = 48
"""Octets of struct tpacket3_hdr with its padding."""

KERNEL, USER = 0, 1
LOSING = 4
_STATUS = struct.Struct("=I")


@attrs.frozen
class Record:
    """A frame in the ring: where it starts and what the kernel says of it."""

    at: int
    size: int
    length: int
    """Octets that the frame had: more than ``size`` when it was cut off."""

    status: int
    tci: int
    tpid: int


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
        self.losing = False
        """Whether a block told, since this was last reset, that frames were lost."""

        self._block = 0
        self._records: Iterator[Record] | None = None
        self._left = 0

    @property
    def held(self) -> bool:
        """Whether a block is ours although all of its frames were taken."""
        return self._records is not None and not self._left

    def take(self, limit: int) -> list[Record]:
        """Up to ``limit`` frames of the block at hand; none when there is none.

        When it was the last of its frames the block is `held` until `release`.
        """
        if self.held:
            self.release()
        if self._records is None and not self._open():
            return []
        assert self._records is not None
        count = min(limit, self._left)
        found = [next(self._records) for _ in range(count)]
        self._left -= count
        return found

    def _open(self) -> bool:
        """Look at the next block; true when it is the reader's."""
        start = self._block * self.block_size
        _, _, status, count, first, used = BLOCK.unpack_from(self.memory, start)
        if not status & USER:
            return False
        self.losing |= bool(status & LOSING)
        if used > self.block_size or count > self.block_size // HEADER:
            raise self._corrupt("block", f"{count} frames in {used} octets")
        self._left = count
        self._records = self._walk(start, first, count)
        return True

    def _walk(self, start: int, offset: int, count: int) -> Iterator[Record]:
        end = start + self.block_size
        at = start + offset
        for number in range(count):
            if not start < at <= end - HEADER:
                raise self._corrupt(f"frame {number}", f"is at {at - start}")
            following, _, _, size, length, status, link, _, _, tci, tpid = (
                FRAME.unpack_from(self.memory, at)
            )
            if link < HEADER + self.headroom or at + link + size > end:
                raise self._corrupt(f"frame {number}", f"{size} octets at {link}")
            yield Record(at + link, size, length, status, tci, tpid)
            at += following

    def release(self) -> None:
        """Give the block back to the kernel, read or not."""
        if self._records is None:
            return
        self._records, self._left = None, 0
        at = self._block * self.block_size + STATUS_AT
        _STATUS.pack_into(self.memory, at, KERNEL)
        self._block = (self._block + 1) % self.blocks

    def close(self) -> None:
        """Let go of the memory."""
        self._records = None
        self.memory.release()

    def _corrupt(self, what: str, value: str) -> CorruptError:
        cause = f"block {self._block}, {what}: {value}, out of the block"
        return CorruptError(self.name, cause, "close the link and open it again")
