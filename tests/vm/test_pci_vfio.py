"""Devices by vfio, all the way: registers, interrupts, DMA, and letting go."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.edu import (
    ACKNOWLEDGE,
    CAUSE,
    DMA_DONE,
    ID,
    IDENTITY,
    INTERRUPT,
    LONGEST,
    Edu,
)
from rumphyper.pci import Container, Device, bind, open_device, regs, unbind
from rumphyper.pci.capability import VendorCapability
from rumphyper.pci.errors import DeviceClosedError
from tests.vm.pci import (
    E1000,
    E1000E,
    EDU,
    SYSFS,
    VIRTIO_NET,
    VIRTIO_RNG,
    address,
    child,
    eventually,
    line,
    master,
    vfio,
)

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


def test_edu_identifies_itself_and_computes(edu: Edu) -> None:
    assert edu.device.driver == "vfio"
    assert edu.words[ID] == IDENTITY
    assert edu.alive(0x12345678) == 0xEDCBA987
    assert edu.factorial(10) == 3628800
    assert edu.factorial(12) == 479001600
    assert edu.device.bar(0).read(0) == IDENTITY
    assert edu.device.bar_at(edu.device.info.bars[0].start + 4)[1] == 4


@pytest.mark.parametrize("kind", ["intx", "msi"])
def test_interrupts_come_once_each(edu: Edu, kind: str) -> None:
    edu.device.bus_master = True  # messages are writes to the bus
    (interrupt,) = edu.device.interrupts(kind)  # type: ignore[arg-type]
    poller = select.poll()
    poller.register(interrupt, select.POLLIN)
    for cause in (1, 0x80, 0x7F000000):
        assert poller.poll(0) == []
        edu.fire(cause)
        assert poller.poll(10_000)
        assert edu.serve(interrupt) == cause
        assert interrupt.read() == 0
    edu.device.disable_interrupts()
    edu.fire(1)
    with pytest.raises(DeviceClosedError):
        interrupt.read()
    edu.words[ACKNOWLEDGE] = 1
    (again,) = edu.device.interrupts(kind)  # type: ignore[arg-type]
    edu.fire(2)
    assert edu.serve(again) == 2


def test_a_line_stays_masked_until_it_is_unmasked(edu: Edu) -> None:
    (interrupt,) = edu.device.interrupts("intx")
    edu.fire(1)
    assert interrupt.wait(10) == 1
    edu.words[ACKNOWLEDGE] = 1
    edu.fire(2)
    assert interrupt.wait(0.3) == 0
    interrupt.unmask()
    assert interrupt.wait(10) == 1


def test_a_line_that_is_raised_already_is_not_missed(edu: Edu) -> None:
    """As a driver before us may have left it: no edge will come."""
    edu.fire(2)
    (interrupt,) = edu.device.interrupts("intx")
    assert edu.serve(interrupt) == 2
    edu.fire(1)
    assert edu.serve(interrupt) == 1


def test_asyncio_is_told_of_interrupts(edu: Edu) -> None:
    (interrupt,) = edu.device.interrupts("intx")

    async def main() -> int:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(interrupt, came.set)
        loop.call_later(0.05, edu.fire, 4)
        await asyncio.wait_for(came.wait(), 20)
        loop.remove_reader(interrupt)
        return edu.serve(interrupt)

    assert asyncio.run(main()) == 4


def test_closing_the_device_wakes_who_waits() -> None:
    with vfio(EDU) as device:
        (interrupt,) = device.interrupts("intx")
        outcome: list[object] = []

        def wait() -> None:
            try:
                outcome.append(interrupt.wait())
            except DeviceClosedError as error:
                outcome.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
    thread.join(20)
    assert isinstance(outcome[0], DeviceClosedError)


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


def test_messages_of_several_vectors() -> None:
    """e1000e's MSI-X: IVAR maps causes to vectors (82574 datasheet, 10.2.4)."""
    icr, ics, ims, ivar = (each // 4 for each in (0xC0, 0xC8, 0xD0, 0xE4))
    eitr = 0xE8 // 4
    queue = {0: 1 << 20, 1: 1 << 22}  # RxQ0, TxQ0: their bits in the causes
    with vfio(E1000E) as device:
        assert device.interrupt_counts()["msix"] == 5
        device.bus_master = True
        words = device.bar(0).view(32)
        vectors = device.interrupts("msix", 3)
        assert [each.vector for each in vectors] == [0, 1, 2]
        for number in range(3):
            words[eitr + number] = 1  # in 256 ns; QEMU makes it 128 us
        words[ivar] = 0x8 | 0 | (0x8 | 1) << 8 | (0x8 | 2) << 16
        words[ims] = queue[0] | queue[1]
        for number, cause in queue.items():
            words[ics] = cause
            assert vectors[number].wait(10) == 1
            assert [each.read() for each in vectors] == [0, 0, 0]
            _ = words[icr]
        # QEMU 7.2 aborts when MSI-X goes while it throttles a vector (EITR).
        time.sleep(0.1)


def test_a_register_that_reading_clears_keeps_its_value() -> None:
    """e1000's causes: a second access would find 0 (82540 manual, 13.4.17)."""
    icr, ics = 0xC0, 0xC8
    with vfio(E1000) as device:
        bar = device.bar(0)
        words = bar.view(32)
        for _ in range(50):
            words[ics // 4] = 0x14
            assert words[icr // 4] == 0x14
            assert words[icr // 4] == 0
            bar.write(ics, 0x10)
            assert bar.read(icr) == 0x10
            assert bar.read(icr) == 0
        words[ics // 4] = 0x14
        octets = bar.view(8)
        assert bytes(octets[icr : icr + 4]) != b"\x14\0\0\0"  # why slices are wrong


def test_registers_of_8_and_16_bits() -> None:
    """virtio's, where one of 16 bits written as two octets would be cut off."""
    status, queue, queue_size = 0x14, 0x16, 0x18
    with vfio(VIRTIO_NET) as device:
        bar = device.bar(4)
        octets, halves = bar.view(8), bar.view(16)
        for value in (1, 3, 0):
            octets[status] = value
            assert octets[status] == bar.read(status, 8) == value
        for value in (0x0102, 1, 0):
            halves[queue // 2] = value
            assert halves[queue // 2] == bar.read(queue, 16) == value
        bar.write(queue, 0, 16)
        assert bar.read(queue_size, 16) == 256


def test_what_virtio_tells_of_itself() -> None:
    """The capabilities lead to registers: struct virtio_pci_cap."""
    with vfio(VIRTIO_NET) as device:
        found = {}
        for each in device.config.capabilities():
            if isinstance(each, VendorCapability):
                kind, bar = each.data[3:5]
                found[kind] = (bar, *struct.unpack_from("<II", each.data, 8))
        assert sorted(found) == [1, 2, 3, 4, 5]
        index, offset, size = found[4]  # the device's configuration: its MAC
        assert size >= 6
        mac = bytes(device.bar(index).read(offset + each, 8) for each in range(6))
        assert mac.hex(":").startswith("52:54:00:12:34:")


def test_io_ports() -> None:
    """e1000e's window: an address register, a data register (82574, 10.2.1)."""
    status = 0x08
    with vfio(E1000E) as device:
        ports, memory = device.bar(2), device.bar(0)
        assert (ports.kind, memory.kind, ports.size) == ("io", "memory", 32)
        ports.write(0, status)
        assert ports.read(0) == status
        assert ports.read(4) == memory.read(status) != 0
        assert ports.read(4, 16) == memory.read(status) & 0xFFFF


def test_config_is_the_devices_and_its_bars_are_ours(device: Device) -> None:
    config = device.config
    assert (config.size, config.read16(0), config.read16(2)) == (256, *EDU)
    whole = (SYSFS.path(device.address) / "config").read_bytes()
    assert config.read(0x2C, 4) == whole[0x2C:0x30]
    assert config.bar_value(0) == device.info.bars[0].start
    config.write32(regs.BAR0, 0xFFFFFFFF)
    assert config.read32(regs.BAR0) == 0xFFF00000  # 1 MiB
    config.write32(regs.BAR0, device.info.bars[0].start)
    assert (SYSFS.path(device.address) / "config").read_bytes() == whole
    with vfio(E1000E) as wide:
        assert wide.config.size == 4096
        names = [each.name for each in wide.config.capabilities() if each.extended]
        assert names == ["advanced error reporting", "device serial number"]


def test_a_reset_clears_registers() -> None:
    """virtio's device status (virtio 1.2, 4.1.4.3), behind a port of its own."""
    status = 0x14
    with vfio(VIRTIO_RNG) as device:
        octets = device.bar(4).view(8)
        octets[status] = 1
        assert octets[status] == 1
        device.reset()
        assert octets[status] == 0
        assert device.config.read16(0) == VIRTIO_RNG[0]


def test_too_many_descriptors_leave_none_behind() -> None:
    with vfio(E1000E) as device:
        device.bar(0)
        before = os.listdir("/proc/self/fd")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + 5, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                device.interrupts("msix", 5)  # ten of them
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == len(before)
        assert len(device.interrupts("msix", 5)) == 5


def test_closing_stops_the_device_and_restores_its_driver() -> None:
    place = address(E1000)
    before = set(os.listdir("/proc/self/fd"))
    with vfio(E1000) as device:
        assert SYSFS.driver(place) == "vfio-pci"
        device.bus_master = True
        assert device.bus_master
        assert master(place)
        view = device.bar(0).view(32)
        memory = device.dma_alloc(4096)
        device.interrupts("intx")
    assert SYSFS.driver(place) == "e1000"
    assert SYSFS.text(place, "driver_override") == "(null)"
    assert set(os.listdir("/proc/self/fd")) == before
    assert locked() == 0
    with pytest.raises(ValueError, match="released"):
        view[0]
    for call in (
        lambda: device.bar(0),
        lambda: device.bar(1),
        lambda: device.config.read16(0),
        lambda: device.dma_alloc(4096),
        lambda: device.interrupts("intx"),
        device.reset,
        device.interrupt_counts,
    ):
        with pytest.raises(DeviceClosedError):
            call()
    memory.close()
    device.close()


def locked() -> int:
    """KiB that this process has locked."""
    for each in Path("/proc/self/status").read_text().splitlines():
        if each.startswith("VmLck:"):
            return int(each.split()[1])
    raise AssertionError


def test_opening_and_closing_leaves_nothing_behind() -> None:
    with vfio(EDU):
        pass
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with vfio(EDU) as device:
            device.bar(0)
            device.dma_alloc(1 << 20)
            device.interrupts("msi")
    assert len(os.listdir("/proc/self/fd")) == before
    assert locked() == 0
    maps = Path("/proc/self/maps").read_text()
    assert "vfio" not in maps


def test_the_example_runs() -> None:
    place = address(EDU)
    binding = bind(place, "vfio-pci")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "examples/edu.py", str(place)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    binding.restore()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "identity 0x010000ed, 10! = 3628800",
        "interrupt for causes 0x5",
        "copied by DMA: b'hello'",
    ]


KILLED = """
import sys, time
from examples.edu import Edu
from rumphyper.pci import open_device
device = open_device(sys.argv[1], bind="vfio-pci")
edu = Edu(device)
device.bus_master = True
device.interrupts("msi")
memory = device.dma_arena(4 << 20, 0x1000000000)
while True:
    edu.start(memory.iova, 0x40000, 4095, 4)
    print("started", flush=True)
    while edu.busy():
        pass
"""


def test_a_kill_amid_dma_leaves_a_device_that_opens_again() -> None:
    place = address(EDU)
    with child(KILLED, str(place)) as process:
        for _ in range(3):
            assert line(process) == "started"
        assert master(place)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert eventually(lambda: not master(place))
    assert SYSFS.driver(place) == "vfio-pci"
    with vfio(EDU) as device:
        edu = Edu(device)
        assert not device.bus_master
        assert edu.words[ID] == IDENTITY
        device.bus_master = True
        (interrupt,) = device.interrupts("msi")
        while edu.busy():  # the device has no reset: it ends what it began
            pass
        edu.words[ACKNOWLEDGE] = edu.words[CAUSE]
        interrupt.read()
        with device.dma_arena(4 << 20, 0x20_0000_0000) as memory:
            memory.view[:5] = b"again"
            edu.copy(memory, 0, 1 << 20, 5)
            assert bytes(memory.view[1 << 20 : (1 << 20) + 5]) == b"again"
        edu.fire(8)
        assert edu.serve(interrupt) == 8
    # "restore" gives back what it had before: vfio-pci, since the kill.
    assert SYSFS.driver(place) == "vfio-pci"
    unbind(place)
