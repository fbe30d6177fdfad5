"""The kernel's memory out of an arena, by the hypercalls themselves."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes import byref, c_void_p

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.arena_memory import ArenaMemory
from rumphyper.hypercalls.pci.arena import Arena
from rumphyper.hypercalls.python import python_families
from tests.hypercalls.arenas import make_arena
from tests.hypercalls.support import Setup

SIZE = 1 << 20
PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture
def arena() -> Arena:
    return make_arena(SIZE)


@pytest.fixture
def setup(arena: Arena) -> Iterator[Setup]:
    setup = Setup(families=[*python_families(), ArenaMemory(arena)])
    yield setup
    setup.hv.close()


def malloc(setup: Setup, size: int, alignment: int = 0) -> int:
    address = c_void_p()
    assert setup.call("malloc", size, alignment, byref(address)) == 0
    return address.value or 0


def test_malloc_is_the_arenas(setup: Setup, arena: Arena) -> None:
    places = []
    for alignment in (0, 8, 64, PAGE, 1 << 16):
        place = malloc(setup, 100, alignment)
        assert place % max(alignment, 8) == 0
        assert arena.holds(place)
        assert arena.holds(place + 99)
        ctypes.memset(place, 0xFF, 100)
        places.append(place)
    for place in places:
        setup.call("free", place, 100)
    setup.call("free", None, 0)
    assert arena.used == 0
    assert setup.reports == []
    for wrong in (1, 4, 24):
        address = c_void_p(1)
        assert setup.call("malloc", 10, wrong, byref(address)) == Errno.EINVAL
        assert address.value is None


def test_an_exhausted_arena_is_an_error(setup: Setup, arena: Arena) -> None:
    """ENOMEM and NULL, told once with its remedy; freeing helps."""
    first = malloc(setup, SIZE // 2)
    for _ in range(2):
        address = c_void_p(1)
        result = setup.call("malloc", SIZE // 2 + 1, 0, byref(address))
        assert result == Errno.ENOMEM
        assert address.value is None
    assert arena.starved.is_set()
    assert len(setup.reports) == 1
    said = "DMA memory of 1 MiB: it has no run of 524289 octets left (give it more: "
    assert said in setup.reports[0]
    assert "--pci-memory" in setup.reports[0]
    where = c_void_p(1)
    result = setup.call("anonmmap", None, SIZE, 0, 0, byref(where))
    assert result == Errno.ENOMEM
    setup.call("free", first, SIZE // 2)
    assert malloc(setup, SIZE)


def test_free_refuses(setup: Setup, arena: Arena) -> None:
    place = malloc(setup, 100)
    setup.call("free", place + 8, 100)
    setup.call("free", place, 100)
    setup.call("free", place, 100)
    assert sum(setup.hv.reporter.problems.values()) == 2
    assert "not allocated in the arena, or freed already" in setup.reports[0]
    assert arena.used == 0


def test_mappings_are_zeroed_and_aligned(setup: Setup, arena: Arena) -> None:
    dirty = malloc(setup, 4 * PAGE, PAGE)
    ctypes.memset(dirty, 0xFF, 4 * PAGE)
    setup.call("free", dirty, 4 * PAGE)
    where = c_void_p()
    for bits in (0, 5, 16):
        size = 2 * PAGE + 1
        assert setup.call("anonmmap", None, size, bits, 0, byref(where)) == 0
        assert where.value
        assert arena.holds(where.value)
        assert where.value % max(PAGE, 1 << bits) == 0
        assert ctypes.string_at(where.value, size) == bytes(size)
        ctypes.memset(where.value, 0xFF, size)
        setup.call("unmap", where, size)
    assert arena.used == 0
    setup.call("unmap", where, PAGE)
    assert "freed already" in setup.reports[-1]
    assert setup.call("anonmmap", None, 0, 0, 0, byref(where)) == Errno.EINVAL
    assert setup.call("anonmmap", None, PAGE, 64, 0, byref(where)) == Errno.EINVAL


def test_code_is_not_the_arenas(setup: Setup, arena: Arena) -> None:
    """It has to be executable, or where the kernel wants it: no device's business."""
    where = c_void_p()
    wanted = 0x7000_0000
    for address, executable in ((None, 1), (wanted, 1), (wanted, 0)):
        result = setup.call("anonmmap", address, PAGE, 0, executable, byref(where))
        assert result == 0
        assert where.value
        assert not arena.holds(where.value)
        if address:
            assert where.value == wanted
        setup.call("unmap", where, PAGE)
    assert arena.used == 0
    assert setup.reports == []
