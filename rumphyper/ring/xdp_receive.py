"""Frames from a umem by AF_XDP's receive ring, in batches, and the slots back.

Slot p of the memory is what entry p of the fill ring offers, and so what entry p of the
receive ring brings, as long as the kernel keeps the order. Then what it hands over is
known beforehand: a whole run of entries is checked by one comparison with an image of
it, and need not be written to be handed back. What is not as expected is looked at
entry by entry.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.errors import CorruptError
from rumphyper.ring.slots import SIZES, Slots
from rumphyper.ring.xdp import ADDRESS, DESCRIPTOR, Ring


class Receiver:
    """Frames that come by a receive ring, and their slots back to the fill ring.

    Both rings and ``slots`` have equally many entries; slots are chunks of the umem
    ``chunk`` octets apart, of which frames leave the first octets free: ``headroom``.
    """

    def __init__(
        self, rx: Ring, fill: Ring, umem: mmap.mmap, chunk: int, headroom: int
    ) -> None:
        self.rx = rx
        self.fill = fill
        self.umem = umem
        self.chunk = chunk
        self._headroom = headroom
        count = rx.count
        self._room = count * chunk
        self.slots = Slots(umem, headroom, chunk, count)
        self.in_order = True
        """Whether the entries of both rings still go together."""

        self._images: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0
        self._image = b""
        self._lent = 0
        self._addresses: list[int] = []
        for position in range(count):
            ADDRESS.pack_into(fill.memory, fill.at(position), position * chunk)
        fill.advance(count)

    def take(self, limit: int, way: str) -> tuple[Sequence[Buffer], int, int]:
        """Take up to ``limit`` frames: those, their number and their octets.

        ``way`` is ``get`` for copies, ``views`` for buffers that are lent until
        the next call, ``count`` for none. There may be more: a batch ends where
        the ring's array does. Raises CorruptError.
        """
        rx = self.rx
        if self._lent:
            self.give_back()
        first = rx.position
        count = min(rx.available(), limit, rx.count - first)
        if not count:
            return (), 0, 0
        at, size, end = rx.at(first), rx.size, first + count
        octets = rx.memory[at : at + count * size]
        expected = self._image[first * size : end * size]
        if octets != expected or not self.in_order:
            sizes = self._check(octets, first)
            total = sum(sizes)
        else:
            sizes = [self._size] * count
            total = self._size * count
        frames: Sequence[Buffer] = ()
        if way != "count":
            if not self.in_order:
                frames = self._strewn(sizes, way)
            elif way == "views":
                frames = self.slots.views(first, sizes)
            else:
                frames = self.slots.get(first, sizes)
        rx.advance(count)
        self._lent = count
        if way != "views":
            self.give_back()
        return frames, count, total

    def _strewn(self, sizes: list[int], way: str) -> list[Buffer]:
        places = zip(self._addresses, sizes, strict=True)
        if way == "get":
            return [self.umem[at : at + size] for at, size in places]
        with memoryview(self.umem) as whole, whole.toreadonly() as octets:
            return [octets[at : at + size] for at, size in places]

    def _check(self, octets: bytes | bytearray, first: int) -> list[int]:
        """The sizes of these entries' frames, their addresses in ``_addresses``."""
        chunk, room = self.chunk, self._room
        self._addresses = addresses = []
        sizes = []
        for at, size, options in DESCRIPTOR.iter_unpack(octets):
            if at >= room or at % chunk + size > chunk or options:
                cause = f"{size} octets at {at:#x}, options {options:#x}"
                cause += f", the umem has {room:#x} in chunks of {chunk}"
                remedy = "close the link and open it again"
                raise CorruptError(self.rx.name, cause, remedy)
            addresses.append(at)
            sizes.append(size)
        begin = self._headroom + first * self.chunk
        ordered = range(begin, begin + len(sizes) * self.chunk, self.chunk)
        if addresses != list(ordered):
            self.in_order = False
        elif sizes.count(sizes[0]) == len(sizes):
            self._expect(sizes[0])
        return sizes

    def _expect(self, size: int) -> None:
        """Have the image of entries with frames of this size at hand."""
        image = self._images.get(size)
        if image is None:
            image = b"".join(
                DESCRIPTOR.pack(self._headroom + position * self.chunk, size, 0)
                for position in range(self.rx.count)
            )
            self._images[size] = image
            if len(self._images) > SIZES:
                self._images.popitem(last=False)
        self._size, self._image = size, image

    def give_back(self) -> None:
        """Offer the kernel the slots of what was taken last."""
        fill, count, self._lent = self.fill, self._lent, 0
        if not self.in_order:
            for number, address in enumerate(self._addresses[:count]):
                position = (fill.index + number) & (fill.count - 1)
                start = address - address % self.chunk
                ADDRESS.pack_into(fill.memory, fill.at(position), start)
        fill.advance(count)

    def close(self) -> None:
        """Let go of the memory."""
        self.slots.drop_views()
        self.rx.close()
        self.fill.close()
