"""pci/sysfs on a folder of recorded devices, and pci/unbound over it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rumphyper.pci import Address, BarInfo, Sysfs, open_device
from rumphyper.pci.errors import (
    DeviceBusyError,
    DeviceNotFoundError,
    DmaError,
    InterruptError,
    NoIommuError,
    PciAddressError,
    PciError,
    ReadOnlyError,
    RegisterError,
)
from tests.pci.tree import E1000E_ADDRESS, VIRTIO_ADDRESS, make_tree


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return make_tree(tmp_path)


def test_what_is_listed(sysfs: Sysfs) -> None:
    card, virtio = sysfs.devices()
    assert str(card.address) == E1000E_ADDRESS
    assert (card.vendor, card.device) == (0x8086, 0x10D3)
    assert (card.class_code, card.revision) == (0x020000, 0)
    assert (card.subsystem_vendor, card.subsystem_device) == (0x8086, 0)
    assert (card.driver, card.group, card.numa_node) == ("e1000e", 5, -1)
    assert card.interfaces == ("eth1",)
    assert card.bars == (
        BarInfo(0, "memory", 0xFEB20000, 128 << 10),
        BarInfo(1, "memory", 0xFEB40000, 128 << 10),
        BarInfo(2, "io", 0xC0C0, 32),
        BarInfo(3, "memory", 0xFEB60000, 16 << 10),
    )
    assert virtio.bars[1] == BarInfo(4, "memory", 0xFEBFC000, 16 << 10, True, True)
    assert (virtio.driver, virtio.interfaces) == (None, ())
    assert sysfs.group_of(5) == [card.address, virtio.address]


def test_a_host_without_pci(tmp_path: Path) -> None:
    assert Sysfs(tmp_path).devices() == []


def test_devices_by_address_and_by_interface(sysfs: Sysfs) -> None:
    card = Address.parse(E1000E_ADDRESS)
    assert sysfs.resolve("00:07.0") == sysfs.resolve("eth1") == card
    with pytest.raises(DeviceNotFoundError, match=r"0000:00:09\.0: there is none"):
        sysfs.resolve("00:09.0")
    for text in ("eth2", "", "../eth1", "0000:00:07"):
        with pytest.raises(PciAddressError, match="neither a PCI address"):
            sysfs.resolve(text)


def test_a_device_that_goes_while_it_is_listed(sysfs: Sysfs) -> None:
    shutil.rmtree(sysfs.path(Address.parse(VIRTIO_ADDRESS)))
    (sysfs.root / "bus/pci/devices" / VIRTIO_ADDRESS).mkdir()
    assert [str(each.address) for each in sysfs.devices()] == [E1000E_ADDRESS]


def test_a_driven_device_is_for_reading(sysfs: Sysfs) -> None:
    """Its driver is using it: nothing of it is written, at the end neither."""
    config = sysfs.path(Address.parse(E1000E_ADDRESS)) / "config"
    before = config.read_bytes()
    with open_device(E1000E_ADDRESS, sysfs=sysfs) as device:
        assert device.driver == "sysfs"
        assert device.bus_master
        assert len(device.config.capabilities()) == 6
        with pytest.raises(ReadOnlyError):
            device.config.write16(4, 0)
        with pytest.raises(ReadOnlyError):
            device.reset()
    assert config.read_bytes() == before
    with pytest.raises(DeviceBusyError, match="its driver e1000e is using it"):
        open_device(E1000E_ADDRESS, sysfs=sysfs, writable=True)


def test_an_unbound_device_has_registers_and_no_more(sysfs: Sysfs) -> None:
    folder = sysfs.path(Address.parse(VIRTIO_ADDRESS))
    (folder / "enable").write_text("0")
    (folder / "resource1").write_bytes(bytes(4096))
    before = set(os.listdir("/proc/self/fd"))
    with open_device(VIRTIO_ADDRESS, sysfs=sysfs) as device:
        assert (folder / "enable").read_text() == "1"
        device.bar(1).view(32)[2] = 0xDEADBEEF
        assert device.bar(1) is device.bar(1)
        bar, offset = device.bar_at(0xFEB66010, 16)
        assert (bar, offset) == (device.bar(1), 0x10)
        for size, at in ((1, 0xFEB65FFF), (16, 0xFEB66FF8), (1, 0)):
            with pytest.raises(RegisterError, match="no BAR holds"):
                device.bar_at(at, size)
        with pytest.raises(RegisterError, match=r"BAR 0 is not.* its size is 0"):
            device.bar(0)
        with pytest.raises(DmaError, match="without a driver"):
            device.dma_alloc(4096)
        with pytest.raises(InterruptError, match="no intx interrupt"):
            device.interrupts("intx")
        with pytest.raises(PciError, match="bus mastering"):
            device.bus_master = True
        with pytest.raises(PciError, match="no way to be reset alone"):
            device.reset()
    device.close()
    assert (folder / "enable").read_text() == "0"
    octets = (folder / "resource1").read_bytes()
    assert octets[8:12] == (0xDEADBEEF).to_bytes(4, sys.byteorder)
    assert set(os.listdir("/proc/self/fd")) == before


def test_vfio_without_an_iommu(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path, iommu=False)
    with pytest.raises(NoIommuError, match="no IOMMU in use for it"):
        open_device(E1000E_ADDRESS, driver="vfio", sysfs=sysfs)


def test_the_wrong_driver_says_which_is_bound(sysfs: Sysfs) -> None:
    with pytest.raises(PciError, match="bound to e1000e, not to a driver of UIO"):
        open_device(E1000E_ADDRESS, driver="uio", sysfs=sysfs)
    with pytest.raises(PciError, match="opened by sysfs, which has no container"):
        open_device(E1000E_ADDRESS, noiommu=True, sysfs=sysfs)


def test_who_is_not_root_is_told_the_file() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        make_tree(Path(root))
        folder = Path(root, "bus/pci/devices", VIRTIO_ADDRESS)
        (folder / "enable").touch(0o600)
        enable, override = refusals(root)
    assert f"{folder}/enable: Permission denied" in enable
    assert f"{folder}/driver_override: Permission denied" in override


def refusals(root: str) -> list[str]:
    """What nobody is told when opening and binding a device."""
    code = f"""
import os
from pathlib import Path
from rumphyper.pci import Sysfs, open_device, bind
from rumphyper.pci.errors import DeniedError
sysfs = Sysfs(Path({root!r}))
sysfs.devices()  # import what that needs, while it can be read
os.setuid(65534)
for call in (
    lambda: open_device({VIRTIO_ADDRESS!r}, sysfs=sysfs),
    lambda: bind(sysfs.resolve({VIRTIO_ADDRESS!r}), "vfio-pci", sysfs=sysfs),
):
    try:
        call()
    except DeniedError as error:
        print(error)
"""
    command = [sys.executable, "-c", code]
    return subprocess.check_output(command, text=True).splitlines()
