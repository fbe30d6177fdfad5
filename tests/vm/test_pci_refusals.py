"""Devices that vfio does not give, or takes away, and errors that say why."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.edu import ID, IDENTITY, Edu
from rumphyper.pci import Container, Device, bind, open_device, unbind
from rumphyper.pci.errors import (
    DeviceBusyError,
    DeviceGoneError,
    DeviceNotFoundError,
    GroupError,
    NoIommuError,
    PciError,
)
from tests.vm.pci import (
    E1000E,
    EDU,
    NOBODY,
    SYSFS,
    address,
    child,
    eventually,
    line,
    uio,
    vfio,
)

pytestmark = pytest.mark.vm("pci")


@pytest.fixture
def device() -> Iterator[Device]:
    with vfio(EDU) as device:
        yield device


HOLDER = """
import sys
from rumphyper.pci import open_device
device = open_device(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_device_that_somebody_has_open() -> None:
    place = address(EDU)
    binding = bind(place, "vfio-pci")
    with child(HOLDER, str(place)) as process:
        assert line(process) == "open"
        with pytest.raises(DeviceBusyError) as caught:
            open_device(place)
        assert f"({process.pid})" in str(caught.value)
        with pytest.raises(DeviceBusyError, match="is open in"):
            unbind(place)
        with pytest.raises(DeviceBusyError, match="is open in"):
            bind(place, "uio_pci_generic")
    assert SYSFS.driver(place) == "vfio-pci"
    binding.restore()
    assert SYSFS.driver(place) is None


def test_a_device_that_is_forced_away_while_it_is_open() -> None:
    """The kernel waits for who has it."""
    place = address(EDU)
    bind(place, "vfio-pci")
    with child(HOLDER, str(place)) as process:
        assert line(process) == "open"
        thread = threading.Thread(target=lambda: unbind(place, force=True))
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(20)
    assert SYSFS.driver(place) is None


def test_a_device_that_we_have_open(device: Device) -> None:
    with pytest.raises(DeviceBusyError, match="in use by this process"):
        open_device(device.address)
    with Container() as container, pytest.raises(DeviceBusyError):
        open_device(device.address, container=container)
    assert Edu(device).words[ID] == IDENTITY


def test_a_group_with_another_driver_in_it() -> None:
    """The chipset's functions are of one group."""
    bridge = next(each for each in SYSFS.devices() if each.class_code == 0x060100)
    assert bridge.group is not None
    others = [each for each in SYSFS.group_of(bridge.group) if each != bridge.address]
    first, second = others[:2]
    with contextlib.ExitStack() as stack:
        for place, driver in ((first, "vfio-pci"), (second, "uio_pci_generic")):
            stack.callback(bind(place, driver).restore)
        with pytest.raises(GroupError) as caught:
            open_device(first)
        assert f"IOMMU group {bridge.group}" in str(caught.value)
        assert f"{second} by uio_pci_generic" in str(caught.value)
        assert str(bridge.address) not in str(caught.value)
        stack.callback(bind(second, "vfio-pci").restore)
        with Container() as container:
            one = open_device(first, container=container)
            two = open_device(second, container=container)
            one.close()
            assert two.config.read16(0) == 0x8086
            two.close()


UNPRIVILEGED = f"""
import os, resource, sys
from rumphyper.pci import open_device, Sysfs, bind
from rumphyper.pci.errors import PciError
sys.stdin.readline()
Sysfs().devices()  # imports what is found by root only
os.setgid({NOBODY})
os.setuid({NOBODY})
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
place = sys.argv[1]
def attempt(call):
    try:
        return call()
    except PciError as error:
        print(type(error).__name__, error, flush=True)
attempt(lambda: open_device(place))
attempt(lambda: bind(Sysfs().resolve(place), "uio_pci_generic"))
print("opening", flush=True)
sys.stdin.readline()
device = open_device(place)
print("open", hex(device.bar(0).read(0)), flush=True)
device.bus_master = True
memory = device.dma_alloc(512 << 10)
attempt(lambda: device.dma_alloc(1 << 20))
memory.close()
memory = device.dma_alloc(1 << 20)
print("allocated", memory.size, flush=True)
device.close()
"""


def test_who_is_not_root() -> None:
    """Told which file; given the group's node, he has the device, within limits."""
    place = address(EDU)
    binding = bind(place, "vfio-pci")
    node = f"/dev/vfio/{SYSFS.info(place).group}"
    with child(UNPRIVILEGED, str(place)) as process:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert line(process).startswith(f"DeniedError {node}: Permission denied")
        assert "driver_override: Permission denied" in line(process)
        assert line(process) == "opening"
        os.chown(node, NOBODY, NOBODY)
        process.stdin.write("\n")
        process.stdin.flush()
        assert line(process) == f"open {IDENTITY:#x}"
        refused = line(process)
        assert refused.startswith("DmaError DMA memory of 1048576 octets")
        assert "RLIMIT_MEMLOCK is 1048576 octets, 524288 of them" in refused
        assert "ulimit -l 1536" in refused
        assert line(process) == "allocated 1048576"
        assert process.wait(20) == 0
    binding.restore()


def test_uio_behind_an_iommu_has_no_dma() -> None:
    with uio(EDU) as device:
        assert device.bar(0).read(0) == IDENTITY
        with pytest.raises(NoIommuError) as caught:
            device.dma_alloc(4096)
        assert "an IOMMU (type DMA" in str(caught.value)
        assert "iommu=pt" in caught.value.remedy


def test_no_iommu_mode_is_not_switched_on_by_us() -> None:
    """Debian's kernel does not have it; where it is, the administrator decides."""
    place = address(EDU)
    with pytest.raises(NoIommuError, match="no-iommu mode"):
        open_device(place, bind="vfio-pci", noiommu=True)
    assert SYSFS.driver(place) is None  # as it was: the binding was undone
    assert not Path("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode").exists()


def test_no_such_device() -> None:
    with pytest.raises(DeviceNotFoundError, match="there is none"):
        open_device("0000:3f:1f.7")


def test_a_device_that_is_not_bound_to_vfio() -> None:
    with pytest.raises(PciError) as caught:
        open_device(address(E1000E), driver="vfio")
    assert "bind vfio-pci" in str(caught.value)


def rescan(place: object) -> None:
    """Have the bus looked through again until a device is back."""
    Path("/sys/bus/pci/rescan").write_text("1")
    assert eventually(lambda: place in SYSFS.addresses())


def test_a_device_that_vanishes_from_sysfs() -> None:
    place = address(EDU)
    with open_device(place) as device:
        (SYSFS.path(place) / "remove").write_text("1")
        for call in (
            lambda: device.config.read16(0),
            lambda: device.config.write16(4, 0),
        ):
            with pytest.raises(DeviceGoneError, match="the device is gone"):
                call()
    with pytest.raises(DeviceNotFoundError):
        open_device(place)
    rescan(place)


def test_a_device_that_is_wanted_back_from_vfio() -> None:
    """Who removes it waits until we let go; we are asked to."""
    place = address(EDU)
    device = open_device(place, bind="vfio-pci", restore=True)
    (request,) = device.interrupts("request")
    remove = SYSFS.path(place) / "remove"
    thread = threading.Thread(target=lambda: remove.write_text("1"))
    thread.start()
    assert request.wait(20)
    device.close()
    thread.join(20)
    assert not thread.is_alive()
    assert place not in SYSFS.addresses()
    rescan(place)
    assert SYSFS.driver(place) is None
