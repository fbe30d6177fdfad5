"""A host without an IOMMU: UIO, sysfs alone, and what vfio says then."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, ID, IDENTITY, LONGEST, Edu
from rumphyper.pci import Device, bind, open_device, regs, unbind
from rumphyper.pci.errors import (
    DeviceBusyError,
    DeviceClosedError,
    DeviceGoneError,
    DmaError,
    InterruptError,
    NoIommuError,
    PciError,
)
from rumphyper.pci.memory import HUGEPAGE, free_hugepages
from tests.vm.pci import (
    E1000,
    E1000E,
    EDU,
    SYSFS,
    address,
    child,
    eventually,
    line,
    master,
    uio,
)

pytestmark = pytest.mark.vm("bare-pci")


@pytest.fixture
def edu() -> Iterator[Edu]:
    with uio(EDU) as device:
        edu = Edu(device)
        edu.words[ACKNOWLEDGE] = edu.words[CAUSE]
        yield edu


def test_vfio_is_refused_before_anything_changes() -> None:
    place = address(E1000)
    for call in (
        lambda: bind(place, "vfio-pci"),
        lambda: open_device(place, bind="vfio-pci"),
        lambda: open_device(place, driver="vfio"),
    ):
        with pytest.raises(NoIommuError) as caught:
            call()
        assert str(place) in str(caught.value)
        assert "intel_iommu=on" in caught.value.remedy
    assert SYSFS.driver(place) == "e1000"


def test_edu_identifies_itself_and_computes(edu: Edu) -> None:
    assert edu.device.driver == "uio"
    assert edu.words[ID] == IDENTITY
    assert edu.alive(0) == 0xFFFFFFFF
    assert edu.factorial(11) == 39916800


def test_interrupts_are_counted_and_the_line_opened_again(edu: Edu) -> None:
    (interrupt,) = edu.device.interrupts("intx")
    for cause in (1, 2, 4):
        edu.fire(cause)
        assert select.select([interrupt], [], [], 10)[0]
        assert edu.serve(interrupt) == cause
        assert interrupt.read() == 0
    edu.fire(1)
    assert interrupt.wait(10) == 1
    assert edu.device.config.read16(regs.COMMAND) & 0x400  # masked by the kernel
    edu.words[ACKNOWLEDGE] = 1
    edu.fire(2)
    assert interrupt.wait(0.3) == 0
    interrupt.unmask()
    assert interrupt.wait(10) == 1
    edu.device.disable_interrupts()
    assert edu.device.config.read16(regs.COMMAND) & 0x400
    with pytest.raises(DeviceClosedError):
        interrupt.wait(0)
    (again,) = edu.device.interrupts("intx")
    assert edu.serve(again) == 2  # it was raised all the time
    edu.fire(1)
    assert edu.serve(again) == 1


def test_only_lines(edu: Edu) -> None:
    for kind in ("msi", "msix"):
        with pytest.raises(InterruptError, match=rf"no {kind} interrupt \(it has intx"):
            edu.device.interrupts(kind)
    with pytest.raises(InterruptError, match="2 intx interrupts: it has 1"):
        edu.device.interrupts("intx", 2)
    edu.device.interrupts("intx")
    with pytest.raises(InterruptError, match="already"):
        edu.device.interrupts("intx")


def test_dma_both_ways(edu: Edu) -> None:
    edu.device.bus_master = True
    pattern = bytes(place % 251 for place in range(LONGEST))
    memory = edu.device.dma_alloc(3 * 4096)
    assert bytes(memory.view) == bytes(3 * 4096)
    memory.view[:LONGEST] = pattern
    edu.copy(memory, 0, 4101, LONGEST)
    assert bytes(memory.view[4101 : 4101 + LONGEST]) == pattern


def test_memory_is_shared_out_of_huge_pages(edu: Edu) -> None:
    free = free_hugepages()
    taken: list[tuple[int, int]] = []
    buffers = []
    for size, align, boundary in ((64, 1, 0), (5000, 4096, 8192), (65536, 65536, 0)):
        memory = edu.device.dma_alloc(size, align=align, boundary=boundary)
        first, last = memory.iova, memory.iova + size - 1
        assert first % align == 0
        assert not boundary or first // boundary == last // boundary
        assert all(last < low or high < first for low, high in taken)
        taken.append((first, last))
        buffers.append(memory)
    assert free_hugepages() == free - 1
    buffers[0].view[:4] = b"used"
    place = buffers[0].iova
    buffers[0].close()
    again = edu.device.dma_alloc(64)
    assert (again.iova, bytes(again.view)) == (place, bytes(64))
    edu.device.close()
    del buffers, again, memory
    assert free_hugepages() == free


def test_an_arena_of_many_pages(edu: Edu) -> None:
    place = 0x20_0000_0000
    arena = edu.device.dma_arena(8 * HUGEPAGE, place)
    assert arena.address == place
    assert sum(segment.size for segment in arena.segments) == 8 * HUGEPAGE
    edu.device.bus_master = True
    for offset in (0, HUGEPAGE, 7 * HUGEPAGE + 100):
        arena.view[offset : offset + 4] = b"page"
        edu.read(arena.bus(offset, 4), 4)
        edu.write(arena.bus(offset + 4096, 4), 4)
        assert bytes(arena.view[offset + 4096 : offset + 4100]) == b"page"


def test_memory_that_cannot_be(edu: Edu) -> None:
    free = free_hugepages()
    with pytest.raises(DmaError, match=f"there are {free}"):
        edu.device.dma_alloc((free + 1) * HUGEPAGE)
    with pytest.raises(DmaError, match="no huge pages lie so"):
        edu.device.dma_alloc(4096, below=1 << 16)
    assert free_hugepages() == free
    assert edu.device.dma_alloc(4096).iova


def test_a_device_that_somebody_has_open(edu: Edu) -> None:
    with pytest.raises(DeviceBusyError, match="/dev/uio0: it is in use by this proc"):
        open_device(edu.device.address)
    with pytest.raises(DeviceBusyError, match="/dev/uio0 is open in this process"):
        bind(edu.device.address, "auto")
    assert edu.words[ID] == IDENTITY


def test_closing_stops_the_device_and_restores_its_driver() -> None:
    place = address(E1000)
    before = set(os.listdir("/proc/self/fd"))
    with uio(E1000) as device:
        device.bus_master = True
        assert master(place)
        device.interrupts("intx")
        device.dma_alloc(4096)
        icr, ics = 0xC0 // 4, 0xC8 // 4
        words = device.bar(0).view(32)
        words[ics] = 0x14
        assert (words[icr], words[icr]) == (0x14, 0)
        assert device.bar(1).kind == "io"
        device.bar(1).read(0)
    assert SYSFS.driver(place) == "e1000"
    assert set(os.listdir("/proc/self/fd")) == before
    with uio(EDU) as device:
        device.bus_master = True
    assert not master(device.address)


KILLED = """
import sys
from examples.edu import Edu
from rumphyper.pci import open_device
device = open_device(sys.argv[1], bind="uio_pci_generic")
edu = Edu(device)
device.bus_master = True
device.interrupts("intx")
memory = device.dma_alloc(4096)
while True:
    edu.start(memory.iova, 0x40000, 4095, 4)
    print("started", flush=True)
    while edu.busy():
        pass
"""


def test_a_kill_amid_dma_leaves_a_device_that_opens_again() -> None:
    """The kernel switches bus mastering off when the node closes."""
    place = address(EDU)
    with child(KILLED, str(place)) as process:
        for _ in range(3):
            assert line(process) == "started"
        assert master(place)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert eventually(lambda: not master(place))
    with open_device(place) as device:
        edu = Edu(device)
        while edu.busy():
            pass
        edu.words[ACKNOWLEDGE] = edu.words[CAUSE]
        device.bus_master = True
        memory = device.dma_alloc(8192)
        memory.view[:5] = b"again"
        edu.copy(memory, 0, 4096, 5)
        assert bytes(memory.view[4096:4101]) == b"again"
        (interrupt,) = device.interrupts("intx")
        edu.fire(8)
        assert edu.serve(interrupt) == 8
    unbind(place)


def test_a_device_that_vanishes() -> None:
    place = address(EDU)
    with uio(EDU) as device:
        (interrupt,) = device.interrupts("intx")
        (SYSFS.path(place) / "remove").write_text("1")
        with pytest.raises(DeviceGoneError, match="intx interrupt: the device is gone"):
            interrupt.wait(10)
        with pytest.raises(DeviceGoneError):
            device.config.read16(0)
    Path("/sys/bus/pci/rescan").write_text("1")
    assert eventually(lambda: place in SYSFS.addresses())
    with uio(EDU) as device:
        assert Edu(device).words[ID] == IDENTITY


def test_a_reset_where_there_is_one(edu: Edu) -> None:
    with pytest.raises(PciError, match="no way to be reset alone"):
        edu.device.reset()
    with uio(E1000E) as device:
        device.reset()
        assert device.config.read16(0) == E1000E[0]


def test_sysfs_alone_has_registers() -> None:
    place = address(EDU)
    enable = SYSFS.path(place) / "enable"
    assert enable.read_text() == "0\n"
    with open_device(place) as device:
        assert device.driver == "sysfs"
        assert enable.read_text() == "1\n"
        edu = Edu(device)
        assert edu.words[ID] == IDENTITY
        assert edu.factorial(5) == 120
        with pytest.raises(PciError, match="bus mastering"):
            device.bus_master = True
    assert enable.read_text() == "0\n"
    with open_device(address(E1000)) as device:
        device.bar(1)
        with pytest.raises(PciError, match="a driver of its own is using"):
            device.bar(0)
    assert SYSFS.driver(address(E1000)) == "e1000"


def test_ports_through_sysfs() -> None:
    """Without a driver, e1000's window of ports; QEMU's reads as 0."""
    place = address(E1000)
    with contextlib.ExitStack() as stack:
        stack.callback(unbind(place).restore)
        device: Device = stack.enter_context(open_device(place))
        ports = device.bar(1)
        assert (ports.kind, ports.size) == ("io", 64)
        ports.write(0, 8)
        assert ports.read(0, 16) == 0
    assert SYSFS.driver(place) == "e1000"
