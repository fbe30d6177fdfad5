"""The kernel's side of netmap rings in plain Python, to hold ours against.

Written from the rules of netmap's C (netmap.c: the prologues of txsync and
rxsync, netmap_ring_reinit; netmap_vale.c; netmap_pipe.c) and independent of
rumphyper: it reads and writes the memory by struct, slot by slot. It resets a
ring whose rules were broken, drops and pushes back as the kernel does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence

import attrs

BUF = 256
"""Octets of a buffer here, so that frames of several slots are short."""
SLOT = struct.Struct("=IHHQ")
BUF_CHANGED, INDIRECT, MOREFRAG = 1, 0x10, 0x20


class Memory:
    """A region with room for some rings, and a pool of buffers behind them."""

    def __init__(self, buffers: int = 512, room: int = 1 << 16) -> None:
        self.room = room
        self.buffers = buffers
        self.map = mmap.mmap(-1, room + buffers * BUF)
        self._next_ring = 4096
        self._next_buffer = 2
        self._next_if = 0

    def new_buffer(self) -> int:
        self._next_buffer += 1
        assert self._next_buffer <= self.buffers
        return self._next_buffer - 1

    def new_ring(self, slots: int, way: int) -> KernelRing:
        at = self._next_ring
        self._next_ring += 256 + slots * 16 + 64
        assert self._next_ring <= self.room
        return KernelRing(self, at, slots, way)

    def new_if(
        self,
        tx: Sequence[KernelRing],
        rx: Sequence[KernelRing],
        host: bool = False,
        extra: int = 0,
    ) -> int:
        """A netmap_if: one host ring each way too, which is not bound."""
        at = self._next_if
        self._next_if += 512
        assert self._next_if <= 4096
        chain = [self.new_buffer() for _ in range(extra)]
        struct.pack_into(
            "=16sIIIIIII", self.map, at, b"sim", 14, 0, len(tx), len(rx),
            chain[0] if chain else 0, int(host), int(host),
        )  # fmt: skip
        for index, following in zip(chain, [*chain, 0][1:], strict=True):
            struct.pack_into("=I", self.map, self.buffer(index), following)
        offsets = [r.at - at for r in tx] + [0] * host
        offsets += [r.at - at for r in rx] + [0] * host
        struct.pack_into(f"={len(offsets)}q", self.map, at + 56, *offsets)
        return at

    def buffer(self, index: int) -> int:
        assert 0 <= index < self.buffers
        return self.room + index * BUF


@attrs.define(eq=False)
class KernelRing:
    """The kernel's kring, and the ring that it shows to the application."""

    memory: Memory
    at: int
    slots: int
    way: int
    hwcur: int = 0
    hwtail: int = 0
    rhead: int = 0
    rtail: int = 0
    resets: int = 0
    dropped: int = 0

    def __attrs_post_init__(self) -> None:
        self.hwtail = self.rtail = self.slots - 1 if self.way == 0 else 0
        struct.pack_into(
            "=qIIHHIIII", self.memory.map, self.at, self.memory.room - self.at,
            self.slots, BUF, 0, 1 - self.way, 0, 0, self.rtail, 0,
        )  # fmt: skip
        for slot in range(self.slots):
            self.put(slot, self.memory.new_buffer(), 0, 0)

    # -- the memory --------------------------------------------------------------

    def slot(self, number: int) -> tuple[int, int, int, int]:
        found = SLOT.unpack_from(self.memory.map, self.at + 256 + 16 * number)
        index, length, flags, pointer = found
        return int(index), int(length), int(flags), int(pointer)

    def put(
        self, number: int, index: int, length: int, flags: int, pointer: int = 0
    ) -> None:
        place = self.at + 256 + 16 * number
        SLOT.pack_into(self.memory.map, place, index, length, flags, pointer)

    def indices(self) -> tuple[int, int, int]:
        head, cur, tail = struct.unpack_from("=III", self.memory.map, self.at + 20)
        return int(head), int(cur), int(tail)

    def set_indices(self, head: int, cur: int, tail: int) -> None:
        struct.pack_into("=III", self.memory.map, self.at + 20, head, cur, tail)

    def octets(self, number: int) -> bytes:
        index, length, flags, _ = self.slot(number)
        assert not flags & INDIRECT
        at = self.memory.buffer(index)
        return self.memory.map[at : at + length]

    # -- the rules ---------------------------------------------------------------

    def _in_order(self, *places: int) -> bool:
        """Whether the places come one after the other, going round from the first."""
        steps = [(place - places[0]) % self.slots for place in places]
        return all(p < self.slots for p in places) and steps == sorted(steps)

    def prologue(self) -> bool:
        """Take over the application's indices; false when the ring was reset."""
        head, cur, tail = self.indices()
        start = self.rhead if self.way == 0 else self.hwcur
        end = self.rtail if self.way == 0 else self.hwtail
        if not self._in_order(start, head, cur, end) or not self.good_slots(head):
            self.reset()
            return False
        if tail != self.rtail:
            self.set_indices(head, cur, self.rtail)
        self.rhead = head
        return True

    def good_slots(self, head: int) -> bool:
        """Whether the slots that are given over can be used."""
        number = self.hwcur
        while number != head:
            index, length, _, _ = self.slot(number)
            if not 2 <= index < self.memory.buffers or length > BUF:
                return False
            number = (number + 1) % self.slots
        return True

    def reset(self) -> None:
        self.resets += 1
        self.rhead, self.rtail = self.hwcur, self.hwtail
        self.set_indices(self.hwcur, self.hwcur, self.hwtail)

    def finish(self) -> None:
        head, cur, _ = self.indices()
        self.rtail = self.hwtail
        self.set_indices(head, cur, self.hwtail)

    # -- a port of a NIC or a switch -----------------------------------------------

    def send(self) -> list[bytes]:
        """txsync: the frames that were given over; all slots are free again."""
        if not self.prologue():
            return []
        frames, pieces = [], []
        number = self.hwcur
        while number != self.rhead:
            index, length, flags, pointer = self.slot(number)
            pieces.append(self.octets(number))
            if not flags & MOREFRAG:
                frames.append(b"".join(pieces))
                pieces = []
            self.put(number, index, length, flags & ~BUF_CHANGED, pointer)
            number = (number + 1) % self.slots
        assert not pieces, "a frame's last slot was not given over"
        self.hwcur = self.rhead
        self.hwtail = (self.hwcur - 1) % self.slots
        self.finish()
        return frames

    def receive(self, frames: Sequence[bytes] = ()) -> None:
        """rxsync: take back released slots, put frames in; drop what has no room."""
        if not self.prologue():
            return
        self.hwcur = self.rhead
        for frame in frames:
            parts = [frame[at : at + BUF] for at in range(0, max(1, len(frame)), BUF)]
            if (self.hwcur - 1 - self.hwtail) % self.slots < len(parts):
                self.dropped += 1
                continue
            for left, part in zip(range(len(parts) - 1, -1, -1), parts, strict=True):
                index = self.slot(self.hwtail)[0]
                at = self.memory.buffer(index)
                self.memory.map[at : at + len(part)] = part
                flags = len(parts) << 8 | (MOREFRAG if left else 0)
                self.put(self.hwtail, index, len(part), flags)
                self.hwtail = (self.hwtail + 1) % self.slots
        self.finish()


class Pipe:
    """One direction of a pipe: slots move, and a full receiver pushes back."""

    def __init__(self, tx: KernelRing, rx: KernelRing) -> None:
        assert tx.slots == rx.slots
        self.tx, self.rx = tx, rx
        for number in range(tx.slots):
            rx.put(number, *tx.slot(number))
        self._tx_tail, self._rx_tail = tx.hwtail, rx.hwtail

    def txsync(self) -> None:
        if not self.tx.prologue():
            return
        self.tx.hwtail = self._tx_tail
        while self.tx.hwcur != self.tx.rhead:
            index, length, flags, pointer = self.tx.slot(self.tx.hwcur)
            self.rx.put(self.tx.hwcur, index, length, flags, pointer)
            self.tx.put(self.tx.hwcur, index, length, flags & ~BUF_CHANGED, pointer)
            self.tx.hwcur = (self.tx.hwcur + 1) % self.tx.slots
            if not flags & MOREFRAG:
                self._rx_tail = self.tx.hwcur
        self.tx.finish()

    def rxsync(self) -> None:
        if not self.rx.prologue():
            return
        self.rx.hwtail = self._rx_tail
        while self.rx.hwcur != self.rx.rhead:
            index, length, flags, pointer = self.rx.slot(self.rx.hwcur)
            self.tx.put(self.rx.hwcur, index, length, flags, pointer)
            self.rx.put(self.rx.hwcur, index, length, flags & ~BUF_CHANGED, pointer)
            self._tx_tail = (self.rx.hwcur - 1) % self.tx.slots
            self.rx.hwcur = (self.rx.hwcur + 1) % self.rx.slots
            self._tx_tail = (self.rx.hwcur - 1) % self.tx.slots
        self.rx.finish()
