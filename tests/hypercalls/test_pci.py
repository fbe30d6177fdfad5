"""The PCI hypercalls without a device; with devices they are in tests/vm."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import byref, c_uint, c_ulong, c_void_p

import pytest

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.arena_memory import ArenaMemory
from rumphyper.hypercalls.families.pci import NOWHERE, DmaSegment, Pci
from rumphyper.hypercalls.pci.arena import GRANULE, Arena
from rumphyper.hypercalls.python import python_families
from tests.hypercalls.arenas import APART, BUS, make_arena
from tests.hypercalls.support import Setup

SIZE = 1 << 20


@pytest.fixture
def with_arena() -> Iterator[Callable[..., tuple[Setup, Arena]]]:
    """Makes a setup whose kernel's memory has segments of the sizes given."""
    made: list[Setup] = []

    def make(*sizes: int, address: int = 0) -> tuple[Setup, Arena]:
        arena = make_arena(*sizes, address=address)
        families = [*python_families(), ArenaMemory(arena), Pci((), arena)]
        made.append(Setup(families=families))
        return made[-1], arena

    yield make
    for setup in made:
        setup.hv.close()


def dmalloc(setup: Setup, size: int, align: int) -> tuple[int, int]:
    """The bus address and the address here."""
    pa, va = c_ulong(), c_ulong()
    assert setup.call("rumpcomp_pci_dmalloc", size, align, byref(pa), byref(va)) == 0
    return pa.value, va.value


def test_a_bus_without_devices(setup: Setup) -> None:
    value = c_uint(0)
    for slot in (0, 1, 31):
        place = (0, slot, 0, 0)
        error = setup.call("rumpcomp_pci_confread", *place, byref(value))
        assert (error, value.value) == (Errno.ENODEV, 0xFFFFFFFF)
        assert setup.call("rumpcomp_pci_confwrite", *place, 0) == Errno.ENODEV
        assert setup.call("rumpcomp_pci_irq_map", 0, slot, 0, 11, 1) == Errno.ENODEV
    assert setup.reports == []
    assert setup.call("rumpcomp_pci_map", 0xFEB00000, 4096) is None
    assert setup.call("rumpcomp_pci_irq_establish", 1, None, None) is None
    pa, va = c_ulong(), c_ulong()
    arguments = (4096, 4096, byref(pa), byref(va))
    assert setup.call("rumpcomp_pci_dmalloc", *arguments) == Errno.ENOMEM
    assert len(setup.reports) == 3
    assert "no BAR of the kernel's devices holds them" in setup.reports[0]
    assert "interrupt 1: no device has it" in setup.reports[1]
    assert "boot(pci=[...])" in setup.reports[2]


def test_ports_are_refused(setup: Setup) -> None:
    assert setup.call("rumpcomp_pci_iospace_init") == Errno.EPERM
    assert setup.reports == []


def test_the_identity_is_cs(with_arena: Callable[..., tuple[Setup, Arena]]) -> None:
    setup, _ = with_arena(SIZE)
    binding = setup.hv.bindings["rumpcomp_pci_virt_to_mach"]
    assert binding.provider == "libc"
    address = c_void_p()
    assert setup.call("malloc", 4096, 4096, byref(address)) == 0
    for offset in (0, 1, 4095):
        place = (address.value or 0) + offset
        assert setup.call("rumpcomp_pci_virt_to_mach", place) == place
    pa, va = dmalloc(setup, 100, 64)
    assert pa == va


def test_memory_in_several_segments(
    with_arena: Callable[..., tuple[Setup, Arena]],
) -> None:
    setup, arena = with_arena(SIZE, SIZE)
    assert setup.hv.bindings["rumpcomp_pci_virt_to_mach"].provider == "python"
    whole = SIZE - GRANULE
    for number in range(2):
        pa, va = dmalloc(setup, whole, 4096)
        assert pa == BUS + number * (SIZE + APART)
        assert arena.holds(va)
        for offset in (0, 4095, whole - 1):
            mach = setup.call("rumpcomp_pci_virt_to_mach", va + offset)
            assert mach == pa + offset
    assert setup.reports == []
    for _ in range(2):
        for outside in (arena.start - 1, arena.start + 2 * SIZE, 0x1234):
            assert setup.call("rumpcomp_pci_virt_to_mach", outside) == NOWHERE
    assert len(setup.reports) == 3
    assert "are outside of it" in setup.reports[0]


def test_dma_memory_is_zeroed_aligned_and_freed(
    with_arena: Callable[..., tuple[Setup, Arena]],
) -> None:
    setup, arena = with_arena(SIZE)
    for _ in range(3):
        for size, align in ((1, 1), (65536, 4096), (4096, 1 << 17), (100, 0)):
            pa, va = dmalloc(setup, size, align)
            assert pa % (align or 1) == 0
            assert ctypes.string_at(va, size) == bytes(size)
            ctypes.memset(va, 0xFF, size)
            setup.call("rumpcomp_pci_dmafree", va, size)
    assert arena.used == 0
    setup.call("rumpcomp_pci_dmafree", va, 4096)
    bus, here = c_ulong(7), c_ulong(7)
    for size, align in ((SIZE + 1, 1), (64, 24)):
        arguments = (size, align, byref(bus), byref(here))
        assert setup.call("rumpcomp_pci_dmalloc", *arguments) == Errno.ENOMEM
        assert (bus.value, here.value) == (7, 7)
    assert "freed already" in setup.reports[0]
    assert f"no run of {SIZE + 1} octets left" in setup.reports[1]
    assert "align 0x18 is no power of two" in setup.reports[2]


def test_an_alignment_that_the_segment_does_not_have(
    with_arena: Callable[..., tuple[Setup, Arena]],
) -> None:
    """What is aligned here need not be aligned elsewhere on the bus."""
    odd = 0x30_0000_1000
    setup, arena = with_arena(4096, SIZE, address=odd)
    assert (BUS + 4096 + APART) % 8192 == 4096 == odd % 8192
    pa, va = c_ulong(), c_ulong()
    arguments = (8192, 8192, byref(pa), byref(va))
    assert setup.call("rumpcomp_pci_dmalloc", *arguments) == Errno.ENOMEM
    assert "its alignment of 0x2000 is more than a segment's" in setup.reports[0]
    assert arena.used == 0


def segments(*parts: tuple[int, int]) -> ctypes.Array[DmaSegment]:
    """Segments by address here and octets, as the kernel has them."""
    return (DmaSegment * len(parts))(
        *(DmaSegment(place, octets, place) for place, octets in parts)
    )


def test_segments_of_one_allocation_are_one(
    with_arena: Callable[..., tuple[Setup, Arena]],
) -> None:
    """A boundary cuts an allocation: the stock code panics then."""
    setup, _ = with_arena(SIZE)
    _, va = dmalloc(setup, 5 * 4096, 4096)
    cuts = (
        [(va, 5 * 4096)],
        [(va, 4096), (va + 4096, 2 * 4096), (va + 3 * 4096, 2 * 4096)],
    )
    for cut in cuts:
        where = c_void_p()
        error = setup.call(
            *("rumpcomp_pci_dmamem_map", segments(*cut), len(cut), 5 * 4096),
            byref(where),
        )
        assert (error, where.value) == (0, va)
    assert setup.reports == []


def test_segments_that_are_no_run(
    with_arena: Callable[..., tuple[Setup, Arena]],
) -> None:
    setup, arena = with_arena(SIZE)
    _, va = dmalloc(setup, 4 * 4096, 4096)
    page = 4096
    end = arena.start + SIZE
    wrong: list[tuple[list[tuple[int, int]], int, str]] = [
        ([(va, page), (va + 2 * page, page)], 2 * page, "does not follow the one"),
        ([(va + page, page), (va, page)], 2 * page, "does not follow the one"),
        ([(va, page)], 2 * page, "the 1 segments have 4096"),
        ([], page, "the 0 segments have 0"),
        ([(end, page)], page, "is not in the arena"),
        ([(end - page, 2 * page)], page, "is not in the arena"),
    ]
    for parts, total, cause in wrong:
        where = c_void_p(1)
        error = setup.call(
            *("rumpcomp_pci_dmamem_map", segments(*parts), len(parts), total),
            byref(where),
        )
        assert error
        assert where.value is None
        assert cause in setup.reports[-1]
