"""Frames by the batch through a packet socket: sendmmsg(2) and recvmmsg(2).

Messages, slots and headers are laid out once; a call then is one foreign call
with prepared arguments. Each frame has a virtio-net header in front of it in a
place of its own (PACKET_VNET_HDR), and what the kernel tells beside the frame
(PACKET_AUXDATA) lands behind the slots.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import sys
from array import array
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.host.libc import libc, pin
from rumphyper.link import packet_abi as abi
from rumphyper.link.packet_offload import Aside, restore
from rumphyper.net.vnet import HEADER
from rumphyper.ring.slots import Slots

MOST = 128
"""Frames a call at most; more gain nothing."""

LONGEST = 65536 + 64
"""Octets of a slot: what the kernel has joined is at most 64 KiB. Not a power of
two, or all slots would compete for the same lines of the cache."""

ALIGN = 64
_LOW = 0 if sys.byteorder == "little" else 3
_COMPLETE = bytes((0, 2))
"""Flags of a virtio-net header that leave nothing to do: none, DATA_VALID."""

_UNTAGGED = bytes(octet for octet in range(256) if not octet & abi.STATUS_VLAN_VALID)


class _Messages:
    """``count`` prepared messages of two parts: header and slot."""

    def __init__(self, count: int, slot: int, control: int) -> None:
        self.count = count
        self.slot = -(-slot // ALIGN) * ALIGN
        head = HEADER.size
        self.heads_at = self.slot * count
        self.control_at = -(-(self.heads_at + head * count) // 8) * 8
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.memory = mmap.mmap(-1, self.control_at + control * count + 8, flags=flags)
        self._pinned: ctypes.c_char | None = pin(self.memory)
        base = ctypes.addressof(self._pinned)
        self.slots = Slots(self.memory, 0, self.slot, count)
        self.iovecs = (abi.Iovec * (2 * count))()
        self.messages = (abi.Mmsghdr * count)()
        iovecs_at = ctypes.addressof(self.iovecs)
        for index, message in enumerate(self.messages):
            parts = self.iovecs[2 * index], self.iovecs[2 * index + 1]
            parts[0].base, parts[0].length = base + self.heads_at + index * head, head
            parts[1].base, parts[1].length = base + index * self.slot, self.slot
            header = message.header
            header.iovecs = iovecs_at + 2 * index * ctypes.sizeof(abi.Iovec)
            header.iovec_count = 2
            if control:
                header.control = base + self.control_at + index * control
                header.control_length = control
        self.address = ctypes.c_void_p(ctypes.addressof(self.messages))

    def close(self) -> None:
        """Let go of the memory, which stays while somebody has views of it."""
        self._pinned = None
        self.slots.drop_views()
        with contextlib.suppress(BufferError):
            self.memory.close()


class Inbox:
    """Receives frames from a packet socket. For one thread at a time."""

    def __init__(self, fd: int) -> None:
        self._all = _Messages(MOST, LONGEST, abi.CONTROL)
        self._fd = ctypes.c_int(fd)
        self._receive = libc().recvmmsg
        view = memoryview(self._all.messages).cast("B")
        size = ctypes.sizeof(abi.Mmsghdr)
        self._size = size
        self._octets = view
        self._image = bytes(view)
        self._lengths = view.cast("I")[abi.Mmsghdr.length.offset // 4 :: size // 4]
        self._used = 0
        self._wait = ctypes.c_int(abi.MSG_DONTWAIT)

    def recv(self, limit: int, views: bool) -> tuple[list[Buffer], int, bool]:
        """Take up to ``limit`` frames: those, how many were lost, if all came.

        With ``views`` the frames may be lent. Raises OSError, not for EAGAIN.
        """
        boxes, asked = self._all, min(limit, MOST)
        used = self._used * self._size
        self._octets[:used] = self._image[:used]
        count = self._receive(self._fd, boxes.address, asked, self._wait, None)
        self._used = max(count, 0)
        if count <= 0:
            number = ctypes.get_errno()
            if count == 0 or number in (errno.EAGAIN, errno.EINTR):
                return [], 0, True
            raise OSError(number, "recvmmsg")
        head = HEADER.size
        sizes = [length - head for length in self._lengths[:count]]
        memory = boxes.memory
        heads = memory[boxes.heads_at : boxes.heads_at + head * count]
        start = boxes.control_at + abi.CONTROL_HEADER + _LOW
        tags = memory[start : start + abi.CONTROL * count : abi.CONTROL]
        plain = not (heads[::head].strip(_COMPLETE) or heads[1::head].strip(b"\0"))
        if plain and not tags.strip(_UNTAGGED) and max(sizes) < boxes.slot:
            look = boxes.slots.views if views else boxes.slots.get
            return list(look(0, sizes)), 0, count < asked
        frames, lost = self._restored(sizes, heads)
        return list(frames), lost, count < asked

    def _restored(self, sizes: list[int], heads: bytes) -> tuple[list[bytes], int]:
        """Complete frames of those that came, and how many were cut off."""
        boxes, head, lost = self._all, HEADER.size, 0
        frames: list[bytes] = []
        for index, octets in enumerate(boxes.slots.get(0, sizes)):
            if not 0 <= sizes[index] < boxes.slot:
                lost += 1
                continue
            at = boxes.control_at + index * abi.CONTROL + abi.CONTROL_HEADER
            aside = abi.AUXDATA.unpack_from(boxes.memory, at)
            header = heads[index * head : (index + 1) * head]
            found = restore(header, octets, Aside(aside[0], aside[5], aside[6]))
            lost += not found
            frames += found
        return frames, lost

    def close(self) -> None:
        """Free the slots. Idempotent."""
        self._all.close()


class Outbox:
    """Sends frames by a packet socket. For one thread at a time."""

    def __init__(self, fd: int, max_frame: int) -> None:
        self._all = _Messages(MOST, max_frame, 0)
        self._fd = ctypes.c_int(fd)
        self._send = libc().sendmmsg
        words = memoryview(self._all.iovecs).cast("B").cast("L")
        step = 2 * ctypes.sizeof(abi.Iovec) // abi.WORD
        self._lengths = words[3::step]
        self._alike = 0
        self._wait = ctypes.c_int(abi.MSG_DONTWAIT)

    def send(self, frames: Sequence[Buffer], sizes: Sequence[int]) -> tuple[int, int]:
        """Send up to `MOST` frames: how many went, and the errno that stopped it.

        The errno is 0 when all went, and may be 0 when only some did.
        """
        boxes, count = self._all, len(frames)
        boxes.slots.put(0, frames, sizes)
        alike = sizes[0] if sizes.count(sizes[0]) == count else 0
        if not alike or alike != self._alike:
            lengths = [alike] * MOST if alike else sizes
            self._lengths[: len(lengths)] = memoryview(array("L", lengths))
            self._alike = alike
        done = self._send(self._fd, boxes.address, count, self._wait)
        if done < 0:
            return 0, ctypes.get_errno()
        return done, 0

    def close(self) -> None:
        """Free the slots. Idempotent."""
        self._all.close()
