"""PCI devices from Python: configuration space, registers, DMA, interrupts.

`open_device` opens one by vfio, UIO or sysfs; `Sysfs` lists them; `bind` gives
them to another driver. See docs/pci.md.
"""

from rumphyper.pci.address import Address
from rumphyper.pci.bar import Bar
from rumphyper.pci.binding import Binding, bind, unbind
from rumphyper.pci.container import Container
from rumphyper.pci.device import Device
from rumphyper.pci.dma import DmaBuffer
from rumphyper.pci.irq import Interrupt
from rumphyper.pci.opening import open_device
from rumphyper.pci.sysfs import BarInfo, DeviceInfo, Sysfs

__all__ = [
    "Address",
    "Bar",
    "BarInfo",
    "Binding",
    "Container",
    "Device",
    "DeviceInfo",
    "DmaBuffer",
    "Interrupt",
    "Sysfs",
    "bind",
    "open_device",
    "unbind",
]
