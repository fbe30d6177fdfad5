"""Registers, configuration space and interrupts of devices by vfio."""

from __future__ import annotations

import asyncio
import select
import struct
import time
from collections.abc import Iterator

import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, ID, IDENTITY, Edu
from rumphyper.pci import Device, regs
from rumphyper.pci.capability import VendorCapability
from rumphyper.pci.errors import DeviceClosedError
from tests.vm.pci import E1000, E1000E, EDU, SYSFS, VIRTIO_NET, VIRTIO_RNG, vfio

pytestmark = pytest.mark.vm("pci")


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
