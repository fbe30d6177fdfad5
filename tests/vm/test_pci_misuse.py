"""What a device that is open by vfio refuses, with errors that name the remedy."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import pytest

from examples.edu import IDENTITY, Edu
from rumphyper.pci import Device, bind, open_device
from rumphyper.pci.errors import (
    DmaError,
    InterruptError,
    PciError,
    ReadOnlyError,
    RegisterError,
)
from rumphyper.pci.iova import Need
from tests.vm.pci import E1000, EDU, address, child, line, vfio

pytestmark = pytest.mark.vm("pci")


@pytest.fixture
def device() -> Iterator[Device]:
    with vfio(EDU) as device:
        yield device


def test_interrupts_that_there_are_not() -> None:
    with vfio(E1000) as device:
        counts = device.interrupt_counts()
        assert (counts["intx"], counts["msi"], counts["msix"]) == (1, 0, 0)
        for kind in ("msi", "msix"):
            with pytest.raises(InterruptError) as caught:
                device.interrupts(kind)
            text = f"the device has no {kind} interrupt (it has intx (1), request (1))"
            assert text in str(caught.value)
        with pytest.raises(InterruptError, match="2 intx interrupts are not in 1 to 1"):
            device.interrupts("intx", 2)
        with pytest.raises(InterruptError, match="0 intx interrupts"):
            device.interrupts("intx", 0)


def test_kinds_of_interrupts_exclude_each_other(device: Device) -> None:
    (interrupt,) = device.interrupts("intx")
    for kind in ("msi", "intx"):
        with pytest.raises(InterruptError, match="it delivers intx interrupts already"):
            device.interrupts(kind)
    device.interrupts("request")  # which is vfio's own
    Edu(device).fire(1)
    assert Edu(device).serve(interrupt) == 1


REGISTERS: list[tuple[Callable[[Device], object], str]] = [
    (lambda d: d.bar(1), "BAR 1 is not implemented: its size is 0"),
    (lambda d: d.bar(6), "BAR 6 is not implemented"),
    (lambda d: d.bar(0).read(1 << 20), "past its end"),
    (lambda d: d.bar(0).write(2, 0), "unaligned"),
    (lambda d: d.config.read32(256), "past its end"),
    (lambda d: d.config.read16(1), "unaligned"),
    (lambda d: d.bar_at(0x1000), "no BAR holds 1 octets at 0x1000"),
]


@pytest.mark.parametrize(("call", "cause"), REGISTERS)
def test_registers_that_there_are_not(
    device: Device, call: Callable[[Device], object], cause: str
) -> None:
    with pytest.raises(RegisterError) as caught:
        call(device)
    assert cause in str(caught.value)
    assert str(device.address) in str(caught.value)


def test_a_device_that_cannot_be_reset(device: Device) -> None:
    with pytest.raises(PciError, match="no way to be reset alone"):
        device.reset()


def test_views_end_where_the_registers_do(device: Device) -> None:
    view = device.bar(0).view(32)
    with pytest.raises(IndexError):
        view[1 << 18]


def test_a_device_that_is_open_for_reading_only() -> None:
    place = address(EDU)
    with contextlib.closing(
        open_device(place, bind="vfio-pci", restore=True, writable=False)
    ) as device:
        assert device.bar(0).read(0) == IDENTITY
        with pytest.raises(ReadOnlyError, match="writable=True"):
            device.bar(0).write(4, 1)
        with pytest.raises(ReadOnlyError):
            device.config.write16(4, 0)
        with pytest.raises(ReadOnlyError):
            device.bus_master = True


def test_dma_memory_that_cannot_be(device: Device) -> None:
    for need, cause in (
        (Need(4096, below=4096), "no such bus addresses are free"),
        (Need(4096, align=1 << 62), "no such bus addresses are free"),
    ):
        with pytest.raises(DmaError, match=cause):
            device.dma_alloc(need.size, align=need.align, below=need.below)
    with pytest.raises(DmaError, match="cannot help crossing"):
        device.dma_alloc(8192, boundary=4096)
    with pytest.raises(DmaError, match="not positive"):
        device.dma_alloc(0)
    arena = device.dma_arena(1 << 20, 0x20_0000_0000)
    with pytest.raises(DmaError, match="something else is mapped"):
        device.dma_arena(1 << 20, 0x20_0008_0000)
    arena.close()
    with pytest.raises(DmaError, match="does not have 0x20000000000"):
        device.dma_arena(1 << 20, 1 << 41)  # the IOMMU has 39 bits
    with pytest.raises(DmaError, match="huge pages of 2 MiB, there are 64"):
        device.dma_alloc(65 * 2 << 20, huge=True)
    with device.dma_alloc(4096) as memory:
        assert memory.iova  # and all is as before


ASLEEP = """
import sys
from rumphyper.pci import open_device
device = open_device(sys.argv[1])
view = device.bar(0).view(32)
print(hex(view[0]), flush=True)
device.set_command(2, False)
view[0]
"""


def test_registers_that_are_switched_off() -> None:
    """Memory decoding is off: the kernel ends who looks at them all the same."""
    place = address(EDU)
    binding = bind(place, "vfio-pci")
    with child(ASLEEP, str(place)) as process:
        assert line(process) == hex(IDENTITY)
        assert process.wait(20) == -signal.SIGBUS
    with open_device(place) as device:  # which switches it on again
        assert device.bar(0).read(0) == IDENTITY
    binding.restore()
