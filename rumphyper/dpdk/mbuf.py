"""mbufs as octets: reading what has arrived, writing what shall go.

An mbuf is the structure, then its buffer: headroom, then the frame. Everything
from the member data_off to where the frame begins is the same for all mbufs of a
pool with frames of one length, so one store writes it together with the frame.
DPDK lib/mbuf/rte_mbuf_core.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import Buffer

from rumphyper.dpdk.pool import HEADROOM, Pool
from rumphyper.host.memory import memory

NO_PORT = 0xFFFF
_FIELDS = (("buf_addr", "Q"), ("data_off", "H"), ("nb_segs", "H"))
_SIZES = (("pkt_len", "I"), ("data_len", "H"), ("next", "Q"))


def head(layout: Mapping[str, int]) -> struct.Struct:
    """A reader of buf_addr, data_off, nb_segs, pkt_len, data_len and next."""
    form, at = "<", 0
    for name, kind in (*_FIELDS, *_SIZES):
        offset = layout[f"rte_mbuf.{name}"]
        form += f"{offset - at}x{kind}"
        at = offset + struct.calcsize(f"<{kind}")
    return struct.Struct(form)


class Reader:
    """Takes frames out of mbufs."""

    def __init__(self, layout: Mapping[str, int]) -> None:
        self._unpack = head(layout).unpack_from

    def copies(self, mbufs: Iterable[int]) -> list[bytes]:
        """The frames in mbufs at these addresses, of one segment or of several."""
        octets, unpack, out = memory(), self._unpack, []
        for at in mbufs:
            buffer, offset, segments, _, size, _ = unpack(octets, at)
            start = buffer + offset
            if segments == 1:
                out.append(octets[start : start + size].tobytes())
            else:
                out.append(self._join(at))
        return out

    def views(self, mbufs: Iterable[int]) -> list[Buffer]:
        """The frames without a copy; those of several segments are copied."""
        octets, unpack = memory().toreadonly(), self._unpack
        out: list[Buffer] = []
        for at in mbufs:
            buffer, offset, segments, _, size, _ = unpack(octets, at)
            start = buffer + offset
            view = octets[start : start + size]
            out.append(view if segments == 1 else self._join(at))
        return out

    def _join(self, at: int) -> bytes:
        octets, parts = memory(), []
        while at:
            buffer, offset, _, _, size, at = self._unpack(octets, at)
            parts.append(octets[buffer + offset : buffer + offset + size])
        return b"".join(parts)


class Writer:
    """Puts frames into fresh mbufs of one pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._octets = memory()
        self._layout = pool.eal.dpdk.layout
        self._start = self._layout["rte_mbuf.data_off"]
        self._heads: dict[int, bytes] = {}

    def head(
        self, size: int, total: int = 0, segments: int = 1, next_: int = 0
    ) -> bytes:
        """What precedes ``size`` octets of a frame of ``total``, from data_off on."""
        layout = self._layout
        raw = bytearray(layout["rte_mbuf"] + HEADROOM)
        for name, form, value in (
            ("data_off", "<H", HEADROOM),
            ("refcnt", "<H", 1),
            ("nb_segs", "<H", segments),
            ("port", "<H", NO_PORT),
            ("pkt_len", "<I", total or size),
            ("data_len", "<H", size),
            ("buf_len", "<H", HEADROOM + self.pool.room),
            ("pool", "<Q", self.pool.address),
            ("next", "<Q", next_),
        ):
            struct.pack_into(form, raw, layout[f"rte_mbuf.{name}"], value)
        return bytes(raw[self._start :])

    def write(
        self, mbufs: Sequence[int], frames: Sequence[bytes], sizes: Sequence[int]
    ) -> None:
        """Fill an mbuf for each frame, all of which fit into one."""
        octets, start = self._octets, self._start
        size = sizes[0]
        if sizes.count(size) == len(sizes):
            first = self._head_for(size)
            end = start + len(first) + size
            for at, frame in zip(mbufs, frames, strict=True):
                octets[at + start : at + end] = first + frame
            return
        for at, frame, size in zip(mbufs, frames, sizes, strict=True):
            whole = self._head_for(size) + frame
            octets[at + start : at + start + len(whole)] = whole

    def write_one(self, at: int, frame: bytes) -> None:
        """Fill one mbuf; frames that are sent one by one would feel a loop."""
        whole = self._head_for(len(frame)) + frame
        at += self._start
        self._octets[at : at + len(whole)] = whole

    def _head_for(self, size: int) -> bytes:
        head = self._heads.get(size)
        if head is None:
            head = self._heads[size] = self.head(size)
        return head

    def write_chain(self, mbufs: Sequence[int], frame: Buffer) -> None:
        """Spread one frame over as many mbufs as it needs."""
        octets, room = self._octets, self.pool.room
        view = memoryview(frame).cast("B")
        for number, at in enumerate(mbufs):
            part = view[number * room : (number + 1) * room]
            next_ = mbufs[number + 1] if number + 1 < len(mbufs) else 0
            first = self.head(len(part), len(view), len(mbufs), next_)
            at += self._start
            octets[at : at + len(first) + len(part)] = first + part
