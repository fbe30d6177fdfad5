"""Devices by vfio that are closed, or whose process is killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.edu import ACKNOWLEDGE, CAUSE, ID, IDENTITY, Edu
from rumphyper.pci import Device, bind, unbind
from rumphyper.pci.errors import DeviceClosedError
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
    vfio,
)

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
