"""The PCI hypercalls over real devices, called as a kernel's C code calls them.

By vfio, and by UIO without an IOMMU: there the kernel's memory is of huge pages,
whose bus addresses have nothing to do with those here.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from ctypes import byref, c_uint, c_ulong, c_void_p

import attrs
import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, ID, IDENTITY, LONGEST, Edu
from rumphyper.hypercalls.families.pci import NOWHERE, Pci
from rumphyper.hypercalls.pci.card import ABSENT, Card
from rumphyper.hypercalls.python import python_families
from rumphyper.kernel.pcidevices import MEBIBYTE, PciDevices
from rumphyper.kernel.pcispec import PciSpec
from rumphyper.pci import Device, regs
from tests.hypercalls.support import Setup
from tests.vm.pci import E1000, E1000E, EDU, SYSFS, address, eventually, master

WAYS = [
    pytest.param("vfio,irq=msi", marks=pytest.mark.vm("pci")),
    pytest.param("vfio,irq=intx", marks=pytest.mark.vm("pci")),
    pytest.param("uio", marks=pytest.mark.vm("bare-pci")),
]
HANDLER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
COOKIE = 77
MEMORY = 4 * MEBIBYTE
DECODE = 2
"""The command register's bit for memory."""
SCANNED = 4
"""Slots that are looked at, of 32."""


@attrs.frozen
class Bus:
    """A kernel's PCI bus with edu in slot 0 and a NIC in slot 1."""

    setup: Setup
    devices: PciDevices

    @property
    def edu(self) -> Device:
        return self.devices.devices[0]

    def call(self, name: str, *arguments: object) -> int:
        result: int = self.setup.call(f"rumpcomp_pci_{name}", *arguments)
        return result

    def read(self, slot: int, register: int, function: int = 0) -> int:
        value = c_uint(0x5A5A5A5A)
        self.call("confread", 0, slot, function, register, byref(value))
        return value.value

    def write(self, slot: int, register: int, value: int) -> None:
        assert self.call("confwrite", 0, slot, 0, register, value) == 0

    def size(self, slot: int, register: int) -> int:
        """A BAR's size, as sys/dev/pci/pci_map.c finds it."""
        before = self.read(slot, register)
        self.write(slot, register, 0xFFFFFFFF)
        mask = self.read(slot, register)
        self.write(slot, register, before)
        assert self.read(slot, register) == before
        mask &= ~3 if mask & 1 else ~15
        return (-mask) & 0xFFFFFFFF

    def words(self, slot: int = 0, octets: int = 1 << 20) -> ctypes.Array[c_uint]:
        """The registers of BAR 0 as C has them."""
        place = self.call("map", self.read(slot, regs.BAR0) & ~15, octets)
        assert place
        return (c_uint * (octets // 4)).from_address(place)

    def malloc(self, size: int) -> int:
        """Memory of the kernel, as an mbuf's."""
        where = c_void_p()
        assert self.setup.call("malloc", size, 4096, byref(where)) == 0
        return where.value or 0

    def dmalloc(self, size: int) -> tuple[int, int]:
        pa, va = c_ulong(), c_ulong()
        assert self.call("dmalloc", size, 4096, byref(pa), byref(va)) == 0
        return pa.value, va.value


@contextlib.contextmanager
def opened(way: str) -> Iterator[Bus]:
    """The hypervisor of a kernel with the two devices by a driver."""
    driver, _, irq = way.partition(",")
    cards = [
        PciSpec.parse(f"{address(identity)},driver={driver},restore,{irq}".rstrip(","))
        for identity in (EDU, E1000)
    ]
    devices = PciDevices(cards, MEMORY)
    families = [*python_families(), devices.memory, devices.pci]
    setup = Setup(families=families)
    try:
        edu = Edu(devices.devices[0])
        edu.words[ACKNOWLEDGE] = edu.words[CAUSE]
        yield Bus(setup, devices)
    finally:
        setup.hv.close()
        devices.close()


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with opened(request.param) as bus:
        yield bus


on_all = pytest.mark.parametrize("bus", WAYS, indirect=True)
on_each_driver = pytest.mark.parametrize("bus", WAYS[1:], indirect=True)


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


class Driver:
    """The kernel's side of an interrupt: acknowledges and notes its causes."""

    def __init__(self, bus: Bus) -> None:
        self.words = bus.words()
        self.seen: list[tuple[int, int]] = []
        self.thread = 0
        self.handler = HANDLER(self._handle)

    def _handle(self, data: int) -> int:
        self.thread = threading.get_ident()
        causes = self.words[CAUSE]
        self.words[ACKNOWLEDGE] = causes
        self.seen.append((data, causes))
        return 1

    def establish(self, bus: Bus, data: int) -> int:
        return bus.call("irq_establish", COOKIE, self.handler, data)


def until(condition: Callable[[], bool]) -> None:
    assert eventually(condition)


@on_all
def test_interrupts_call_the_handler_in_the_kernel(bus: Bus) -> None:
    bus.write(0, regs.COMMAND, bus.read(0, regs.COMMAND) | regs.COMMAND_MASTER)
    assert bus.call("irq_map", 0, 0, 0, 11, COOKIE) == 0
    first, second = Driver(bus), Driver(bus)
    assert first.establish(bus, 0x1000)
    for cause in (1, 2, 0x70000):
        first.words[0x60 // 4] = cause
        until(lambda: bool(first.seen))
        assert first.seen == [(0x1000, cause)]
        first.seen.clear()
    assert second.establish(bus, 0x2000)  # a second handler of the same device
    first.words[0x60 // 4] = 4
    until(lambda: bool(second.seen))
    assert first.seen == [(0x1000, 4)]
    assert second.seen == [(0x2000, 0)]
    (service,) = bus.devices.pci.services.values()
    assert service.served == 4
    told = [name for name, thread, _ in kernel_events(bus) if thread == first.thread]
    assert told[:3] == ["hyp_schedule", "hyp_lwproc_newlwp", "hyp_unschedule"]
    each = ["hyp_backend_schedule", "hyp_backend_unschedule"]
    assert [name for name in told[3:] if "backend" in name] == each * 4


def kernel_events(bus: Bus) -> list[tuple[str, int, tuple[object, ...]]]:
    return bus.setup.kernel.events


@on_all
def test_interrupts_end_with_the_family(bus: Bus) -> None:
    bus.write(0, regs.COMMAND, bus.read(0, regs.COMMAND) | regs.COMMAND_MASTER)
    bus.call("irq_map", 0, 0, 0, 11, COOKIE)
    driver = Driver(bus)
    assert driver.establish(bus, 1)
    driver.words[0x60 // 4] = 1
    until(lambda: bool(driver.seen))
    bus.setup.hv.close()
    until(lambda: all("pci" not in t.name for t in threading.enumerate()))
    driver.words[0x60 // 4] = 2
    time.sleep(0.2)
    assert driver.seen == [(1, 1)]
    driver.words[ACKNOWLEDGE] = 2


@on_each_driver
def test_interrupts_that_cannot_be(bus: Bus) -> None:
    driver = Driver(bus)
    assert not driver.establish(bus, 1)
    assert bus.call("irq_map", 0, 3, 0, 11, COOKIE) != 0
    assert not driver.establish(bus, 1)
    bus.call("irq_map", 0, 1, 0, 11, COOKIE)
    bus.devices.devices[1].interrupts("intx")
    assert not driver.establish(bus, 1)
    assert f"interrupt {COOKIE}: no device has it" in bus.setup.reports[0]
    assert "already" in bus.setup.reports[1]
    assert bus.devices.pci.services == {}


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
