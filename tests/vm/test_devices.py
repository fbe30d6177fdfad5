"""The devices of the guests of kind ``pci``, as the tests of PCI need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm("pci")

DEVICES = Path("/sys/bus/pci/devices")

EDU = ("0x1234", "0x11e8")
E1000 = ("0x8086", "0x100e")
E1000E = ("0x8086", "0x10d3")
VIRTIO_NET = ("0x1af4", "0x1041")


def find(identity: tuple[str, str]) -> Path:
    """The sysfs folder of the one device with that vendor and device id."""
    (found,) = (
        path
        for path in DEVICES.iterdir()
        if (
            (path / "vendor").read_text().strip(),
            (path / "device").read_text().strip(),
        )
        == identity
    )
    return found


def driver(device: Path) -> str | None:
    """The name of the driver that has the device."""
    link = device / "driver"
    return link.resolve().name if link.exists() else None


@pytest.mark.parametrize(
    ("identity", "bound"),
    [(EDU, None), (E1000, "e1000"), (E1000E, "e1000e"), (VIRTIO_NET, "virtio-pci")],
    ids=["edu", "e1000", "e1000e", "virtio-net"],
)
def test_each_device_has_a_group_and_the_kernels_driver(
    identity: tuple[str, str], bound: str | None
) -> None:
    device = find(identity)
    assert driver(device) == bound
    group = device / "iommu_group" / "devices"
    assert [path.name for path in group.iterdir()] == [device.name]


@pytest.mark.parametrize("identity", [EDU, E1000E], ids=["edu", "e1000e"])
def test_vfio_takes_a_device_and_gives_it_back(identity: tuple[str, str]) -> None:
    device = find(identity)
    before = driver(device)
    group = Path("/dev/vfio", (device / "iommu_group").resolve().name)
    assert not group.exists()
    rebind(device, "vfio-pci")
    assert driver(device) == "vfio-pci"
    with open(group, "r+b", buffering=0) as file:
        assert file.fileno() > 0
    rebind(device, "")
    assert driver(device) == before
    assert not group.exists()


def rebind(device: Path, wanted: str) -> None:
    """Let the kernel choose a driver anew: the wanted one, or by itself for ""."""
    if (device / "driver").exists():
        (device / "driver" / "unbind").write_text(device.name)
    (device / "driver_override").write_text(f"{wanted}\n")
    Path("/sys/bus/pci/drivers_probe").write_text(device.name)


def test_uio_takes_a_device() -> None:
    device = find(E1000)
    rebind(device, "uio_pci_generic")
    (uio,) = (device / "uio").iterdir()
    assert Path("/dev", uio.name).exists()
    rebind(device, "")
    assert driver(device) == "e1000"


def test_interrupts_are_remapped() -> None:
    """Without it vfio refuses its IOMMU for want of safety."""
    unsafe = Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    assert unsafe.read_text() == "N\n"
    assert list(Path("/sys/class/iommu").iterdir())


def test_huge_pages_are_free() -> None:
    pages = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
    assert int(pages.read_text()) == 64
    assert os.path.ismount("/dev/hugepages")
