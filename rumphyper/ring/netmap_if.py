"""struct netmap_if: what one registration of a port has in the shared memory.

Facts: netmap sys/net/netmap.h; nm_nifp layout and ring order in
netmap_mem2.c (netmap_mem_if_new); extra buffers in netmap.h's text on API 11.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from mmap import mmap

from rumphyper.errors import CorruptError
from rumphyper.ring import netmap_abi as abi
from rumphyper.ring.netmap import REMEDY, Ring

MOST_RINGS = 4096
Csb = Iterator[tuple[memoryview, memoryview]]
"""For each ring that is bound its entries in nm_csb_atok and nm_csb_ktoa."""


class NetmapIf:
    """The rings of one registration, at octet ``offset`` of ``memory``.

    ``tx`` and ``rx`` are the rings of the NIC (or VALE port, or pipe) that are
    bound, ``host_tx`` and ``host_rx`` those that lead to and from the host's own
    stack. ``csb`` and ``buffers`` go to the rings (see `Ring`); in CSB mode the
    entries are those of all tx rings and then of all rx rings. Raises
    CorruptError.
    """

    def __init__(
        self,
        memory: mmap,
        offset: int,
        name: str = "netmap",
        *,
        buffers: int | None = None,
        csb: Csb | None = None,
        vale: bool = False,
    ) -> None:
        self.memory = memory
        self.name = name
        self.buffers = buffers
        self._offset = offset
        if not 0 <= offset <= len(memory) - abi.RING_OFS:
            raise self._corrupt("offset", offset)
        _, version, _, tx, rx, _, host_tx, host_rx = abi.IF.unpack_from(memory, offset)
        self.version: int = version
        counts = (tx, host_tx, rx, host_rx)
        total = sum(counts)
        end = offset + abi.RING_OFS + 8 * total
        if max(counts) > MOST_RINGS or end > len(memory):
            raise self._corrupt("the numbers of rings", counts)
        places = struct.unpack_from(f"={total}q", memory, offset + abi.RING_OFS)
        self._rings: list[Ring] = []
        groups: list[tuple[Ring, ...]] = []
        names = ("tx", "host tx", "rx", "host rx")
        first = 0
        try:
            for label, count in zip(names, counts, strict=True):
                group = []
                for number, place in enumerate(places[first : first + count]):
                    if not place:  # not bound to this registration
                        continue
                    ring = Ring(
                        memory,
                        offset + place,
                        f"{name} {label} {number}",
                        tx=label.endswith("tx"),
                        buffers=buffers,
                        csb=None if csb is None else next(csb),
                        vale=vale,
                    )
                    self._rings.append(ring)
                    group.append(ring)
                groups.append(tuple(group))
                first += count
        except BaseException:
            self.release_views()
            raise
        self.tx, self.host_tx, self.rx, self.host_rx = groups

    @property
    def rings(self) -> Sequence[Ring]:
        """All that are bound, tx rings first."""
        return self._rings

    # -- extra buffers ---------------------------------------------------------

    def extra_buffers(self) -> list[int]:
        """The numbers of the buffers that belong to no slot.

        They are linked by their first 32 bits. Raises CorruptError for a number
        that is out of range or comes twice.
        """
        index = self._word(self._offset + abi.BUFS_HEAD)
        found: dict[int, None] = {}
        while index:
            at = self.buffer_at(index)
            if index in found:
                raise self._corrupt("the list of extra buffers", f"a loop at {index}")
            found[index] = None
            index = self._word(at)
        return list(found)

    def set_extra_buffers(self, indices: Sequence[int]) -> None:
        """Link these buffers: what is in the list when the port closes is freed.

        A buffer that was swapped into a slot is not to be in it, the one that
        came out in its place is. Raises CorruptError for one out of range.
        """
        places = [self.buffer_at(index) for index in indices]
        for at, following in zip(places, [*indices, 0][1:], strict=True):
            self._set_word(at, following)
        self._set_word(self._offset + abi.BUFS_HEAD, indices[0] if indices else 0)

    def exchange(self, ring: Ring, index: int) -> int:
        """Put buffer ``index`` into the ring's next slot; return the one it had.

        Raises CorruptError for a number that is out of range, ValueError where
        no slot is the application's.
        """
        self.buffer_at(index)
        if not ring.available():
            raise ValueError(f"{ring.name}: no slot is available")
        at = ring.slots_at + ring.cur * abi.SLOT_SIZE
        before = self._word(at)
        self.buffer_at(before)
        self._set_word(at, index)
        low = at + abi.FLAGS + (sys.byteorder == "big")
        self.memory[low] |= abi.BUF_CHANGED
        return before

    def buffer_at(self, index: int) -> int:
        """Where in the memory a buffer is. CorruptError: it is out of range."""
        if not self._rings:
            raise self._corrupt("the number of rings", 0)
        ring = self._rings[0]
        if not abi.FIRST_BUFFER <= index < ring.limits.buffers:
            raise self._corrupt("a buffer's number", index)
        return ring.buffers_at + index * ring.buf_size

    # -- parts -------------------------------------------------------------------

    def _word(self, at: int) -> int:
        return int.from_bytes(self.memory[at : at + 4], sys.byteorder)

    def _set_word(self, at: int, value: int) -> None:
        self.memory[at : at + 4] = value.to_bytes(4, sys.byteorder)

    def _corrupt(self, field: str, value: object) -> CorruptError:
        return CorruptError(self.name, f"netmap_if: {field} is {value}", REMEDY)

    def release_views(self) -> None:
        """Let go of the memory; the rings cannot be used any more. Idempotent."""
        for ring in self._rings:
            ring.release_views()
