"""A kernel's PCI bus in a guest, as its hypercalls show it."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from ctypes import byref, c_uint, c_ulong, c_void_p

import attrs
import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, Edu
from rumphyper.hypercalls.python import python_families
from rumphyper.kernel.pcidevices import MEBIBYTE, PciDevices
from rumphyper.kernel.pcispec import PciSpec
from rumphyper.pci import Device, regs
from tests.hypercalls.support import Setup
from tests.vm.pci import E1000, EDU, address, eventually

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


on_all = pytest.mark.parametrize("bus", WAYS, indirect=True)
on_each_driver = pytest.mark.parametrize("bus", WAYS[1:], indirect=True)


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
