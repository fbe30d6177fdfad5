"""A PCI device as the kernel sees it: in a slot of its bus 0.

The slots are ours to choose: the kernel finds the devices that it was given in
that order, and nothing else. Each is function 0 of its slot.
"""

from __future__ import annotations

import attrs

from rumphyper.pci import regs
from rumphyper.pci.device import Device
from rumphyper.pci.errors import InterruptError
from rumphyper.pci.irq import Interrupt, Kind

ABSENT = 0xFFFFFFFF
"""What a bus reads where nothing answers."""

SLOTS = 32

COMMAND_REGISTER = regs.COMMAND
HEADER_REGISTER = 0x0C
MULTIFUNCTION = 1 << 23
"""Registers of 32 bits with status or header type in their upper half."""

STATUS = regs.COMMAND + 2
INTX_DISABLE = regs.COMMAND_INTX_DISABLE


@attrs.define(eq=False)
class Card:
    """A device and the interrupt that it is to use: ``msi``, ``intx``, None.

    None takes messages where there are any.
    """

    device: Device
    irq: Kind | None = None

    def read(self, register: int) -> int:
        """Read 32 bits of configuration space. Raises PciError."""
        value = self.device.config.read32(register)
        if register == COMMAND_REGISTER:
            return value & ~INTX_DISABLE
        if register == HEADER_REGISTER:
            return value & ~MULTIFUNCTION
        return value

    def write(self, register: int, value: int) -> None:
        """Write 32 bits of configuration space. Raises PciError.

        The bit that keeps the interrupt line shut belongs to who serves the
        interrupt, on another thread: the kernel reads it as 0 and cannot set it.
        """
        if register != COMMAND_REGISTER:
            self.device.config.write32(register, value)
            return
        command = value & 0xFFFF & ~INTX_DISABLE
        self.device.set_command(command, True)
        self.device.set_command(~command & 0xFFFF & ~INTX_DISABLE, False)
        if value >> 16:
            self.device.config.write16(STATUS, value >> 16)

    def interrupt(self) -> Interrupt:
        """Have the device's interrupt delivered. Raises InterruptError."""
        counts = self.device.interrupt_counts()
        kinds: tuple[Kind, ...] = ("msi", "intx") if self.irq is None else (self.irq,)
        for kind in kinds:
            if counts.get(kind):
                return self.device.interrupts(kind)[0]
        there = ", ".join(kind for kind, count in counts.items() if count)
        raise InterruptError(
            self.device.thing,
            f"it has no {' or '.join(kinds)} interrupt",
            f"it has {there}" if there else "",
        )
