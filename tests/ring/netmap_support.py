"""Rings of ours over the kernel's side of them."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from rumphyper.ring.netmap import Ring
from tests.ring.netmap_kernel import BUF, KernelRing, Memory

FRAMES = st.lists(st.binary(min_size=1, max_size=BUF * 3), max_size=12)
SHORT = st.lists(st.binary(min_size=1, max_size=BUF), max_size=12)


def open_ring(kernel: KernelRing, vale: bool = False) -> Ring:
    memory = kernel.memory
    tx = kernel.way == 0
    return Ring(memory.map, kernel.at, tx=tx, buffers=memory.buffers, vale=vale)


def pair(slots: int = 8) -> tuple[KernelRing, Ring, KernelRing, Ring]:
    """A tx and an rx ring of one region, the kernel's side first."""
    memory = Memory()
    tx, rx = memory.new_ring(slots, 0), memory.new_ring(slots, 1)
    return tx, open_ring(tx), rx, open_ring(rx)


def buffers_of(*rings: KernelRing) -> Counter[int]:
    return Counter(ring.slot(n)[0] for ring in rings for n in range(ring.slots))
