"""The PCI hypercalls for interrupts, over real devices."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from examples.edu import ACKNOWLEDGE
from rumphyper.pci import regs
from tests.vm.pci_bus import COOKIE, Bus, Driver, on_all, on_each_driver, opened, until


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    with opened(request.param) as bus:
        yield bus


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
