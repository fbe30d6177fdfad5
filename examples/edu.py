"""A driver in Python for QEMU's teaching device: registers, interrupts, DMA.

    qemu-system-x86_64 -M q35 -device intel-iommu -device edu ...
    rumphyper pci bind vfio-pci 0000:00:02.0    # in the guest
    python3 examples/edu.py 0000:00:02.0

Facts: QEMU's docs/specs/edu.rst.
"""

from __future__ import annotations

import sys
import time

from rumphyper.pci import Device, DmaBuffer, Interrupt, open_device

VENDOR, DEVICE = 0x1234, 0x11E8
IDENTITY = 0x010000ED

# Registers of 32 bits, as indexes of a 32-bit view.
ID, LIVENESS, FACTORIAL = 0x00 // 4, 0x04 // 4, 0x08 // 4
STATUS, CAUSE, RAISE, ACKNOWLEDGE = 0x20 // 4, 0x24 // 4, 0x60 // 4, 0x64 // 4
COMPUTING = 0x01

# Registers of 64 bits, as indexes of a 64-bit view.
SOURCE, TARGET, COUNT, COMMAND = 0x80 // 8, 0x88 // 8, 0x90 // 8, 0x98 // 8
START, TO_RAM, INTERRUPT = 1, 2, 4
DMA_DONE = 0x100

BUFFER = 0x40000
"""Where the device's own buffer of 4 KiB is, for its DMA."""

LONGEST = 4095
"""Octets of one transfer: QEMU 7.2 aborts on one more."""


class Edu:
    """The device, over whichever driver it is open by."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.words = device.bar(0).view(32)
        self.longs = device.bar(0).view(64)

    def alive(self, value: int) -> int:
        """Write to the liveness register; it answers with the inverse."""
        self.words[LIVENESS] = value
        return self.words[LIVENESS]

    def factorial(self, number: int) -> int:
        """The factorial modulo 2**32, computed by the device."""
        self.words[FACTORIAL] = number
        while self.words[STATUS] & COMPUTING:
            time.sleep(0)
        return self.words[FACTORIAL]

    def fire(self, cause: int) -> None:
        """Have it interrupt, for causes of our choice."""
        self.words[RAISE] = cause

    def serve(self, interrupt: Interrupt, timeout: float = 10.0) -> int:
        """Wait for an interrupt and acknowledge it; return its causes, 0 for none."""
        if not interrupt.wait(timeout):
            return 0
        causes = self.words[CAUSE]
        self.words[ACKNOWLEDGE] = causes
        interrupt.unmask()
        return causes

    def start(self, source: int, target: int, count: int, command: int) -> None:
        """Start a transfer between addresses on the bus and its own buffer."""
        self.longs[SOURCE] = source
        self.longs[TARGET] = target
        self.longs[COUNT] = count
        self.longs[COMMAND] = command | START

    def busy(self) -> bool:
        """Whether a transfer goes on."""
        return bool(self.longs[COMMAND] & START)

    def read(self, bus: int, count: int) -> None:
        """Have it read memory into its buffer."""
        self._transfer(bus, BUFFER, count, 0)

    def write(self, bus: int, count: int) -> None:
        """Have it write its buffer to memory."""
        self._transfer(BUFFER, bus, count, TO_RAM)

    def _transfer(self, source: int, target: int, count: int, command: int) -> None:
        self.start(source, target, count, command)
        while self.busy():  # 100 ms
            time.sleep(0.01)

    def copy(self, memory: DmaBuffer, source: int, target: int, count: int) -> None:
        """Have it copy octets from one place of a buffer to another."""
        self.read(memory.bus(source, count), count)
        self.write(memory.bus(target, count), count)


def main(address: str) -> None:
    with open_device(address) as device:
        edu = Edu(device)
        print(f"identity {edu.words[ID]:#010x}, 10! = {edu.factorial(10)}")
        (line,) = device.interrupts("intx")
        edu.fire(0x5)
        print(f"interrupt for causes {edu.serve(line):#x}")
        device.bus_master = True
        with device.dma_alloc(8192) as memory:
            memory.view[:5] = b"hello"
            edu.copy(memory, 0, 4096, 5)
            print(f"copied by DMA: {bytes(memory.view[4096:4101])!r}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
