"""DMA of devices by vfio: both ways, where memory lies, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, DMA_DONE, INTERRUPT, LONGEST, Edu
from rumphyper.pci import Container, Device, open_device
from tests.vm.pci import E1000E, EDU, SYSFS, address, vfio

pytestmark = pytest.mark.vm("pci")

PATTERN = bytes(place % 251 for place in range(LONGEST))


@pytest.fixture
def device() -> Iterator[Device]:
    with vfio(EDU) as device:
        yield device


@pytest.fixture
def edu(device: Device) -> Edu:
    """The device without what earlier tests have left of interrupts."""
    edu = Edu(device)
    edu.words[ACKNOWLEDGE] = edu.words[CAUSE]
    return edu


@pytest.mark.parametrize("huge", [False, True])
def test_dma_both_ways(edu: Edu, huge: bool) -> None:
    edu.device.bus_master = True
    with edu.device.dma_alloc(3 * 4096, huge=huge) as memory:
        assert bytes(memory.view) == bytes(3 * 4096)
        memory.view[:LONGEST] = PATTERN
        edu.copy(memory, 0, 4096 + 5, LONGEST)
        assert bytes(memory.view[4101 : 4101 + LONGEST]) == PATTERN
        assert bytes(memory.view[:LONGEST]) == PATTERN
        assert memory.view[4100] == memory.view[4101 + LONGEST] == 0


def test_dma_ends_with_an_interrupt(edu: Edu) -> None:
    edu.device.bus_master = True
    (interrupt,) = edu.device.interrupts("msi")
    with edu.device.dma_alloc(4096) as memory:
        edu.start(memory.iova, 0x40000, 16, INTERRUPT)
        assert edu.serve(interrupt) == DMA_DONE
        assert not edu.busy()


def test_where_memory_lies_on_the_bus(device: Device) -> None:
    taken: list[tuple[int, int]] = []
    for size, align, boundary, below in (
        (100, 1, 0, 1 << 28),
        (4096, 1 << 20, 0, 0),
        (12288, 4096, 16384, 0),
        (12288, 4096, 16384, 0),
        (65536, 65536, 1 << 32, 1 << 32),
    ):
        memory = device.dma_alloc(size, align=align, boundary=boundary, below=below)
        assert memory.size == len(memory.view) == size
        first, last = memory.iova, memory.iova + size - 1
        assert first % align == 0
        assert not boundary or first // boundary == last // boundary
        assert not below or last < below
        assert all(last < low or high < first for low, high in taken)
        taken.append((first, last))
        assert memory.bus(size - 1) == last


def test_an_arena_has_one_address_for_both(edu: Edu) -> None:
    """Above 4 GiB, where edu gets by 64-bit accesses only."""
    place = 0x20_0000_0000
    edu.device.bus_master = True
    with edu.device.dma_arena(16 << 20, place) as arena:
        assert (arena.address, arena.iova, arena.size) == (place, place, 16 << 20)
        assert len(arena.segments) == 1
        arena.view[8 << 20 : (8 << 20) + 5] = b"above"
        edu.copy(arena, 8 << 20, (16 << 20) - 5, 5)
        assert bytes(arena.view[-5:]) == b"above"


def test_memory_that_was_closed_is_the_devices_no_more(edu: Edu) -> None:
    edu.device.bus_master = True
    memory = edu.device.dma_alloc(4096)
    iova, part = memory.iova, memory.view[:8]
    part[:] = b"original"
    other = edu.device.dma_alloc(4096)
    other.view[:8] = b"scribble"
    edu.read(other.iova, 8)
    memory.close()
    edu.write(iova, 8)  # the IOMMU refuses
    assert bytes(part) == b"original"
    with pytest.raises(ValueError, match="released"):
        memory.view[0]


def test_two_devices_of_one_container_share_memory() -> None:
    with Container() as container:
        devices = [
            open_device(
                address(which), bind="vfio-pci", restore=True, container=container
            )
            for which in (EDU, E1000E)
        ]
        first, second = devices
        memory = first.dma_alloc(8192)
        other = second.dma_alloc(8192)
        assert abs(memory.iova - other.iova) >= 8192
        edu = Edu(first)
        first.bus_master = True
        memory.view[:5] = b"hello"
        edu.read(memory.iova, 5)
        edu.write(other.iova, 5)  # memory that was allocated for the other
        assert bytes(other.view[:5]) == b"hello"
        second.close()
        edu.write(memory.iova + 8, 5)
        assert bytes(memory.view[8:13]) == b"hello"
        first.close()
    assert SYSFS.driver(address(E1000E)) == "e1000e"
