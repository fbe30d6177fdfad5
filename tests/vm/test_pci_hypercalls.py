"""The PCI hypercalls over real devices, called as a kernel's C code calls them.

By vfio, and by UIO without an IOMMU: there the kernel's memory is of huge pages,
whose bus addresses have nothing to do with those here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import byref, c_uint, c_void_p

import pytest

from examples.edu import ID, IDENTITY, LONGEST, Edu
from rumphyper.hypercalls.families.pci import NOWHERE, Pci
from rumphyper.hypercalls.pci.card import ABSENT, Card
from rumphyper.kernel.pcidevices import PciDevices
from rumphyper.kernel.pcispec import PciSpec
from rumphyper.pci import regs
from tests.vm.pci import E1000, E1000E, EDU, SYSFS, address, master
from tests.vm.pci_bus import DECODE, MEMORY, SCANNED, WAYS, Bus, on_each_driver, opened


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with opened(request.param) as bus:
        yield bus


@on_each_driver
def test_the_scan_finds_the_devices_in_their_order(bus: Bus) -> None:
    ids = [bus.read(slot, 0) for slot in range(SCANNED)]
    assert ids == [0x11E81234, 0x100E8086, ABSENT, ABSENT]
    assert bus.read(0, 0, function=1) == ABSENT
    assert not bus.read(0, 0x0C) >> 23 & 1  # not multifunction
    assert bus.call("confread", 1, 0, 0, 0, byref(c_uint())) != 0
    assert bus.setup.reports == []
    assert bus.read(0, 2) == ABSENT  # unaligned
    assert bus.read(0, 4096) == ABSENT
    assert len(bus.setup.reports) == 2


@on_each_driver
def test_sizing_bars_and_mapping_them(bus: Bus) -> None:
    assert bus.size(0, regs.BAR0) == 1 << 20
    assert bus.size(1, regs.BAR0) == 1 << 17
    assert bus.words()[ID] == IDENTITY
    assert bus.words(octets=4096)[ID] == IDENTITY
    status = bus.words(slot=1, octets=1 << 17)[2]
    assert status == bus.devices.devices[1].bar(0).read(8)
    assert bus.setup.reports == []
    start = bus.read(0, regs.BAR0)
    ports = bus.read(1, regs.BAR0 + 4)
    assert ports & 1
    for where, octets in ((start, 2 << 20), (4096, 4096), (ports & ~3, 64)):
        assert not bus.call("map", where, octets)
    assert "no BAR of the kernel's devices holds them" in bus.setup.reports[0]
    assert "I/O ports cannot be mapped" in bus.setup.reports[2]


@on_each_driver
def test_the_command_register(bus: Bus) -> None:
    """The kernel has it but for the bit that shuts the interrupt line."""
    place = address(EDU)
    bus.write(0, regs.COMMAND, DECODE)
    assert not master(place)
    bus.edu.set_command(regs.COMMAND_INTX_DISABLE, True)
    command = bus.read(0, regs.COMMAND)
    assert not command & regs.COMMAND_INTX_DISABLE
    bus.write(0, regs.COMMAND, command | regs.COMMAND_MASTER)
    assert bus.edu.config.read16(regs.COMMAND) & regs.COMMAND_INTX_DISABLE
    assert master(place)
    bus.edu.set_command(regs.COMMAND_INTX_DISABLE, False)
    bus.write(0, regs.COMMAND, command | regs.COMMAND_INTX_DISABLE)
    assert not bus.edu.config.read16(regs.COMMAND) & regs.COMMAND_INTX_DISABLE
    assert not master(place)
    assert bus.read(0, regs.COMMAND) & 0xFFFF == DECODE


@on_each_driver
def test_the_device_reaches_any_memory_of_the_kernel(bus: Bus) -> None:
    """Octets go from malloc's memory through edu's buffer to dmalloc's."""
    edu = Edu(bus.edu)
    bus.write(0, regs.COMMAND, bus.read(0, regs.COMMAND) | regs.COMMAND_MASTER)
    source = bus.malloc(5 * 4096)
    pattern = bytes(place % 251 for place in range(LONGEST))
    ctypes.memmove(source + 4096 + 3, pattern, LONGEST)
    pa, va = bus.dmalloc(3 * 4096)
    assert bus.call("virt_to_mach", va + 5000) == pa + 5000
    edu.read(bus.call("virt_to_mach", source + 4096 + 3), LONGEST)
    edu.write(pa + 4096, LONGEST)
    assert ctypes.string_at(va, 3 * 4096) == (
        bytes(4096) + pattern + bytes(2 * 4096 - LONGEST)
    )
    arena = bus.devices.arena
    assert arena.identity == (bus.edu.driver == "vfio")
    if not arena.identity:
        assert pa != va
        assert bus.call("virt_to_mach", 0x1234) == NOWHERE


@on_each_driver
def test_no_run_crosses_what_is_apart_on_the_bus(bus: Bus) -> None:
    """Every page is where virt_to_mach says, by the pages' own addresses."""
    arena = bus.devices.arena
    places = []
    where = c_void_p()
    while bus.setup.call("malloc", 3 * 4096, 4096, byref(where)) == 0:
        assert where.value
        places.append(where.value)
    assert len(places) > MEMORY // (4 * 4096)
    for place in places:
        first = bus.call("virt_to_mach", place)
        for offset in (4095, 4096, 3 * 4096 - 1):
            assert bus.call("virt_to_mach", place + offset) == first + offset
    assert "no run of 12288 octets left" in bus.setup.reports[0]
    assert arena.starved.is_set()


@pytest.mark.parametrize("bus", WAYS[1:], indirect=True)
def test_the_end_stops_the_devices_and_gives_them_back(bus: Bus) -> None:
    place = address(EDU)
    bus.write(0, regs.COMMAND, bus.read(0, regs.COMMAND) | regs.COMMAND_MASTER)
    words = bus.words()
    assert master(place)
    bus.setup.hv.close()
    bus.devices.close()
    bus.devices.close()
    assert not master(place)
    assert SYSFS.driver(place) is None
    assert SYSFS.driver(address(E1000)) == "e1000"
    assert words[ID] == 0  # for threads of the kernel that come late


@pytest.mark.vm("pci")
def test_devices_of_a_kernel_that_cannot_be() -> None:
    """Refused before a kernel is there; everything is given back."""
    edu, nic, other = address(EDU), address(E1000), address(E1000E)
    cases: list[tuple[list[str], str]] = [
        ([f"{nic}"], "it is bound to e1000, not to vfio-pci or UIO"),
        ([f"{edu}"], "it is bound to no driver, not to vfio-pci or UIO"),
        ([f"{edu},driver=vfio,restore", f"{edu}"], "given twice"),
        (
            [f"{edu},driver=vfio,restore", f"{nic},driver=uio,restore"],
            "the others are by vfio, which has other bus addresses",
        ),
        ([f"{other},driver=uio,restore"], "keeps it from physical memory"),
        (["0000:00:1e.5"], "0000:00:1e.5"),
    ]
    for texts, cause in cases:
        with pytest.raises(Exception, match=cause):
            PciDevices([PciSpec.parse(text) for text in texts])
        assert SYSFS.driver(edu) is None
        assert SYSFS.driver(nic) == "e1000"
        assert SYSFS.driver(other) == "e1000e"


def test_more_devices_than_slots() -> None:
    cards = [Card(None)] * 33  # type: ignore[arg-type]
    with pytest.raises(Exception, match="33 PCI devices: a bus has 32 slots"):
        Pci(cards)
