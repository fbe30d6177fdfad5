"""The C driver's rules in plain Python, as a model to hold ours against.

Written from the rules of NetBSD's sys/rump/net/lib/libshmif and independent of
rumphyper: it works on offsets and generations as the driver does, octet by
octet where that is simplest, and asserts what the driver asserts (a rump kernel
with DIAGNOSTIC panics there).
"""

from __future__ import annotations

import struct

SIZE = 1 << 20
DATA = 32
ROOM = SIZE - DATA
MAGIC = 0xCA11D054
HEADER = 24
MOST = 1514


class DriverBus:
    """The bus in ``memory`` as the C driver sees it on an LP64 host."""

    def __init__(self, memory: bytearray) -> None:
        self.memory = memory

    def word(self, offset: int) -> int:
        return int.from_bytes(self.memory[offset : offset + 4], "little")

    def set_word(self, offset: int, value: int) -> None:
        self.memory[offset : offset + 4] = value.to_bytes(4, "little")

    @property
    def generation(self) -> int:
        return int.from_bytes(self.memory[8:16], "little")

    @property
    def first(self) -> int:
        return self.word(16)

    @property
    def last(self) -> int:
        return self.word(20)

    def attach(self) -> None:
        if self.word(0) == 0:
            self.set_word(0, MAGIC)
            self.set_word(16, ROOM)
        assert self.word(0) == MAGIC

    def read(self, offset: int, size: int) -> tuple[bytes, int, bool]:
        """Octets from ``offset`` on, where they end, and whether that wraps."""
        assert size < ROOM // 2
        assert offset <= ROOM
        part = min(size, ROOM - offset)
        data = bytes(self.memory[DATA + offset : DATA + offset + part])
        wrapped = offset + part == ROOM
        if part == size:
            return data, (offset + part) % ROOM, wrapped
        rest = size - part
        return data + bytes(self.memory[DATA : DATA + rest]), rest, wrapped

    def after(self, offset: int) -> int:
        """The offset of the packet behind the one at ``offset``."""
        header, _, _ = self.read(offset, HEADER)
        length = int.from_bytes(header[:4], "little")
        assert length < ROOM
        behind = offset + HEADER + length
        return behind - ROOM if behind >= ROOM else behind

    def advance_first(self, offset: int, size: int) -> None:
        while offset <= self.first + HEADER and offset + size > self.first:
            self.set_word(16, self.after(self.first))

    def write(self, offset: int, data: bytes) -> tuple[int, bool]:
        assert len(data) < ROOM // 2
        assert offset <= ROOM
        part = min(len(data), ROOM - offset)
        filled = offset + part == ROOM
        self.advance_first(offset, part + filled)
        self.memory[DATA + offset : DATA + offset + part] = data[:part]
        if part == len(data):
            return (offset + part) % ROOM, filled
        rest = data[part:]
        self.advance_first(0, len(rest))
        self.memory[DATA : DATA + len(rest)] = rest
        return len(rest), filled

    def send(self, frame: bytes, sender: int) -> None:
        assert len(frame) <= MOST
        assert self.word(0) == MAGIC
        self.set_word(20, self.after(self.last))
        header = struct.pack("<IIIxxxxQ", len(frame), 7, 8, sender)
        behind, wrapped = self.write(self.last, header)
        _, again = self.write(behind, frame)
        if wrapped or again:
            generation = self.generation + 1
            self.memory[8:16] = generation.to_bytes(8, "little")


class DriverReader:
    """One interface's receiver."""

    def __init__(self, bus: DriverBus, uuid: int) -> None:
        self.bus = bus
        self.uuid = uuid
        self.next = bus.last
        self.generation = bus.generation
        self.overruns = 0

    def still_valid(self) -> bool:
        bus = self.bus
        behind = bus.generation - self.generation
        assert bus.first != bus.last
        mine, last = self.next, bus.after(bus.last)
        if behind > 1:
            return False
        if bus.first >= last:
            last += ROOM
            if behind == 0:
                mine += ROOM
        elif behind:
            return False
        return bus.first <= mine <= last

    def receive(self) -> tuple[int, bytes] | None:
        """The next packet's sender and octets; None when there is none."""
        bus = self.bus
        assert bus.word(0) == MAGIC
        assert bus.generation >= self.generation
        if self.generation == bus.generation and bus.after(bus.last) == self.next:
            return None
        here = self.next
        if not self.still_valid():
            assert bus.generation > 0
            self.overruns += 1
            here = bus.first
            self.generation = bus.generation - (bus.first > bus.last)
        assert not (here > bus.last and self.generation == bus.generation)
        header, here, wrapped = bus.read(here, HEADER)
        length, _, _, sender = struct.unpack("<IIIxxxxQ", header)
        assert length <= MOST
        frame, self.next, again = bus.read(here, length)
        if wrapped or again:
            self.generation += 1
        return sender, frame

    def frames(self) -> list[bytes]:
        """All that there is from others, without what is too short."""
        found = []
        while (packet := self.receive()) is not None:
            if packet[0] != self.uuid and len(packet[1]) >= 14:
                found.append(packet[1])
        return found
