"""Links over PCI that are refused: what is said, and what is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.link import open_link
from rumphyper.pci import bind, unbind
from rumphyper.pci.errors import (
    DeviceBusyError,
    DmaError,
    InterruptError,
    NoIommuError,
    PciError,
)
from rumphyper.pci.memory import free_hugepages
from tests.vm.nics import driven
from tests.vm.pci import E1000, E1000E, EDU, SYSFS, VIRTIO_NET, address, master

pytestmark = pytest.mark.vm("pci")

UIO = "uio_pci_generic"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("which", [EDU, VIRTIO_NET], ids=["edu", "virtio-net"])
def test_a_device_of_another_kind(which: tuple[int, int]) -> None:
    place = address(which)
    vendor, device = which
    with pytest.raises(UnsupportedError, match=f"{vendor:04x}:{device:04x}") as caught:
        open_link(f"pci:{place}")
    assert str(place) in caught.value.thing
    for drives in ("8086:100e (82540EM)", "8086:10d3 (82574L)"):
        assert drives in caught.value.remedy


def test_a_card_that_the_kernel_drives() -> None:
    place = address(E1000E)
    (name,) = SYSFS.info(place).interfaces
    for text in (str(place), name):
        with pytest.raises(DeviceBusyError, match="driver e1000e has it") as caught:
            open_link(f"pci:{text}")
        assert caught.value.remedy == f"rumphyper pci bind vfio-pci {place}"
    assert SYSFS.driver(place) == "e1000e"


def test_a_card_that_nothing_drives() -> None:
    place = address(E1000)
    binding = unbind(place)
    with pytest.raises(PciError, match="bound to no driver") as caught:
        open_link(f"pci:{place}")
    assert caught.value.remedy == f"rumphyper pci bind vfio-pci {place}"
    binding.restore()


def test_a_card_that_is_in_use() -> None:
    place = address(E1000)
    with driven(place) as link:
        with pytest.raises(DeviceBusyError, match="in use by this process"):
            open_link(f"pci:{place}")
        assert link.send([bytes(60)]) == 1


def test_what_the_card_or_its_driver_does_not_have() -> None:
    place = address(E1000)
    binding = bind(place, "vfio-pci")
    refused: list[tuple[dict[str, object], type[RumphyperError], str]] = [
        ({"irq": "msi"}, InterruptError, r"no msi interrupt \(it has intx \(1\)"),
        ({"driver": "uio"}, PciError, "bound to vfio-pci, not to a driver of UIO"),
    ]
    for options, error, text in refused:
        with pytest.raises(error, match=text):
            open_link(f"pci:{place}", **options)
        assert not master(place)
    with open_link(f"pci:{place}", driver="vfio", irq="intx") as link:
        assert link.send([bytes(60)]) == 1
    binding.restore()


def test_an_iommu_stands_in_the_way_of_uio() -> None:
    place = address(E1000)
    binding = bind(place, UIO)
    with pytest.raises(NoIommuError, match="vfio-pci"):
        open_link(f"pci:{place}")
    assert not master(place)
    binding.restore()


@pytest.mark.vm("bare-pci")
def test_more_memory_than_there_are_huge_pages() -> None:
    place, free = address(E1000E), free_hugepages()
    binding = bind(place, UIO)
    pages = Path("/proc/sys/vm/nr_hugepages")
    total = int(pages.read_text())
    pages.write_text(str(total - free + 3))  # other tests may hold some for good
    with pytest.raises(DmaError, match="needs 9 free huge pages"):
        open_link(f"pci:{place}", tx_ring=4096, rx_ring=4096)
    assert not master(place)
    with open_link(f"pci:{place}") as link:
        assert link.send([bytes(60)]) == 1
    binding.restore()
    pages.write_text(str(total))
    assert free_hugepages() == free
