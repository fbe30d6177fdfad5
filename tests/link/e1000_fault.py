"""A controller that does what no emulated one can be made to do, for its errors.

Frames pass through real (emulated) controllers in tests/vm.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, cast

from rumphyper.errors import HostError
from rumphyper.link import e1000_regs as regs
from rumphyper.pci import Address, Bar, Device, DeviceInfo, DmaBuffer, Interrupt
from rumphyper.pci.dma import Segment
from rumphyper.pci.errors import DmaError
from rumphyper.pci.irq import EventInterrupt

INFO = DeviceInfo(
    Address(0, 0, 3, 0),
    vendor=regs.VENDOR,
    device=0x10D3,
    subsystem_vendor=0,
    subsystem_device=0,
    class_code=0x020000,
    revision=0,
    driver="vfio-pci",
    group=1,
    numa_node=-1,
    bars=(),
    interfaces=(),
)
MAC = bytes.fromhex("020000000001")
BUS = 0x10000


class Registers(dict[int, int]):
    """Registers by their index; ``fault`` names what does not work.

    A reset is over when the register has been read once.
    """

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.writes: list[tuple[int, int]] = []
        self.set(regs.STATUS, regs.STATUS_LU)
        self.set(regs.RAL, int.from_bytes(MAC[:4], "little"))
        self.set(regs.RAH, int.from_bytes(MAC[4:], "little"))

    def __getitem__(self, index: int) -> int:
        offset, value = index << 2, self.get(index, 0)
        if self.fault == "gone":
            return 0xFFFFFFFF
        if offset == regs.CTRL and self.fault != "reset":
            self.set(offset, value & ~regs.CTRL_RST)
        if offset == regs.MPC and self.fault != "statistics":
            self.set(offset, 0)
        return value

    def __setitem__(self, index: int, value: int) -> None:
        assert 0 <= value < 1 << 32
        self.set(index << 2, value)
        self.writes.append((index << 2, value))

    def set(self, offset: int, value: int) -> None:
        """As the device itself does it."""
        super().__setitem__(offset >> 2, value)


class FaultyBar:
    """Stands for a mapped BAR."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers

    def view(self, width: int = 32) -> Registers:
        assert width == 32
        return self._registers


class FaultyDevice:
    """Stands for an open device; ``closed`` and ``bus_master`` tell its state."""

    def __init__(self, fault: str = "", info: DeviceInfo = INFO) -> None:
        self.info = info
        self.address = info.address
        self.thing = f"PCI device {info.address}"
        self.registers = Registers(fault)
        self.memory = bytearray()
        self.fault = fault
        self.bus_master = False
        self.closed = False
        self.interrupt: EventInterrupt | None = None

    def bar(self, index: int) -> Bar:
        assert index == 0
        return cast(Bar, FaultyBar(self.registers))

    def dma_alloc(self, size: int, *, align: int = 1) -> DmaBuffer:
        if self.fault == "memory":
            raise DmaError(f"DMA memory of {size} octets", "there is none")
        assert BUS % align == 0
        self.memory = bytearray(size)
        segments = [Segment(0, BUS, size)]
        return DmaBuffer(memoryview(self.memory), 0, segments, lambda: None)

    def interrupt_counts(self) -> dict[str, int]:
        return {"intx": 1, "msi": 1}

    def interrupts(self, kind: Any, count: int = 1) -> tuple[Interrupt, ...]:
        if self.fault == "interrupt":
            raise HostError(self.thing, "no vectors")
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.interrupt = EventInterrupt(self.thing, kind, 0, fd)
        return (self.interrupt,)

    def fire(self) -> None:
        """Interrupt."""
        assert self.interrupt is not None
        os.eventfd_write(self.interrupt.fileno(), 1)

    def close(self) -> None:
        self.closed = True
        self.bus_master = False
        with contextlib.suppress(AttributeError):
            cast(EventInterrupt, self.interrupt).close()


def as_device(device: FaultyDevice) -> Device:
    """With the type that the driver takes."""
    return cast(Device, device)
