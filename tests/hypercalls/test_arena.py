"""The arena against a model, from several threads, and at the segments' borders."""

from __future__ import annotations

import ctypes
import random
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.hypercalls.pci.arena import GRANULE, Arena
from rumphyper.pci.errors import DmaError
from tests.hypercalls.arenas import APART, BUS, make_arena

SIZE = 1 << 16
SEGMENTS = (SIZE // 4, SIZE // 2, SIZE // 4)


def fits(arena: Arena, taken: dict[int, int], size: int, align: int) -> bool:
    """Whether a run is free, found by trying every place."""
    size = -(-size // GRANULE) * GRANULE
    for segment in arena.buffer.segments:
        start = arena.start + segment.offset
        end = start + segment.size
        if segment is not arena.buffer.segments[-1]:
            end -= GRANULE
        first = -(-start // align) * align
        for place in range(first, end - size + 1, max(align, GRANULE)):
            if all(place + size <= at or at + n <= place for at, n in taken.items()):
                return True
    return False


@given(st.data(), st.sampled_from([(SIZE,), SEGMENTS]))
def test_allocation_is_the_models(data: st.DataObject, segments: tuple[int]) -> None:
    arena = make_arena(*segments)
    taken: dict[int, int] = {}
    sizes = st.one_of(st.integers(0, 200), st.integers(0, SIZE))
    shifts = st.integers(0, 13)
    freeing = st.booleans()
    for _ in range(data.draw(st.integers(0, 15))):
        places = sorted(taken)
        if places and bool(data.draw(freeing)):
            place = places[data.draw(st.integers(0, len(places) - 1))]
            arena.free(place)
            del taken[place]
        else:
            size, align = data.draw(sizes), 1 << data.draw(shifts)
            address = arena.allocate(size, align)
            assert (address is not None) == fits(arena, taken, size or 1, align)
            if address is None:
                assert arena.starved.is_set()
            else:
                assert address % align == 0
                assert arena.buffer.bus(address - arena.start, size or 1)  # one run
                taken[address] = -(-(size or 1) // GRANULE) * GRANULE
        runs = sorted(taken.items())
        assert all(at + size <= then for (at, size), (then, _) in pairwise(runs))
        assert arena.used == sum(taken.values()) <= arena.peak
    for place in taken:
        arena.free(place)
    largest = max(segments) - (GRANULE if len(segments) > 1 else 0)
    assert arena.allocate(largest) is not None  # all have joined again


def test_no_run_touches_one_of_the_next_segment() -> None:
    """The kernel would take the two for one run on the bus."""
    arena = make_arena(*SEGMENTS)
    places = []
    while (place := arena.allocate(GRANULE)) is not None:
        places.append(place)
    borders = {arena.start + segment.offset for segment in arena.buffer.segments}
    assert {place for place in places if place in borders} == borders
    assert not {place + GRANULE for place in places} & borders


def test_addresses_on_the_bus() -> None:
    arena = make_arena(SIZE)
    assert arena.identity
    assert arena.bus(arena.start + 77) == arena.start + 77
    arena = make_arena(*SEGMENTS)
    assert not arena.identity
    assert arena.bus(arena.start) == BUS
    second = arena.start + SEGMENTS[0]
    assert arena.bus(second + 5) == BUS + SEGMENTS[0] + APART + 5
    for outside in (arena.start - 1, arena.start + SIZE, 0):
        assert not arena.holds(outside)
        with pytest.raises(DmaError):
            arena.bus(outside)
    assert arena.holds(arena.start)
    assert arena.holds(arena.start + SIZE - 1)


def test_what_is_not_allocated_cannot_be_freed() -> None:
    arena = make_arena(SIZE)
    place = arena.allocate(100)
    assert place is not None
    for wrong in (place + GRANULE, place + 1, 0, arena.start + SIZE):
        with pytest.raises(KeyError):
            arena.free(wrong)
    arena.free(place)
    with pytest.raises(KeyError):
        arena.free(place)
    assert arena.used == 0


def test_threads_get_memory_of_their_own() -> None:
    arena = make_arena(1 << 20)
    wrong: list[int] = []

    def work(mark: int) -> None:
        choose = random.Random(mark)
        mine: dict[int, int] = {}
        for _ in range(2000):
            if mine and choose.random() < 0.5:
                place, size = mine.popitem()
                if ctypes.string_at(place, size) != bytes([mark]) * size:
                    wrong.append(place)
                arena.free(place)
                continue
            size = choose.choice((64, 100, 4096, 20000))
            got = arena.allocate(size, choose.choice((1, 64, 4096)))
            if got is not None:
                ctypes.memset(got, mark, size)
                mine[got] = size
        for place in mine:
            arena.free(place)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert arena.used == 0
    assert arena.allocate(1 << 20) is not None
