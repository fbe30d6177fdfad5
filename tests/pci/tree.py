"""A folder that looks like sysfs's PCI part, of recorded devices."""

from __future__ import annotations

from pathlib import Path

from rumphyper.pci.sysfs import Sysfs
from tests.pci.recorded import (
    E1000E,
    RESOURCE_E1000E,
    RESOURCE_VIRTIO_NET,
    VIRTIO_NET,
    space,
)

E1000E_ADDRESS = "0000:00:07.0"
VIRTIO_ADDRESS = "0000:00:08.0"


def make_tree(root: Path, *, iommu: bool = True) -> Sysfs:
    """Two devices: an e1000e with its driver and eth1, a virtio-net with none."""
    for folder in ("bus/pci/devices", "bus/pci/drivers/e1000e", "class/net/eth1"):
        (root / folder).mkdir(parents=True)
    (root / "bus/pci/drivers/vfio-pci").mkdir()
    card = _device(root, E1000E_ADDRESS, space(E1000E, 4096), RESOURCE_E1000E)
    _device(root, VIRTIO_ADDRESS, space(VIRTIO_NET), RESOURCE_VIRTIO_NET)
    (card / "driver").symlink_to(root / "bus/pci/drivers/e1000e")
    (card / "net/eth1").mkdir(parents=True)
    (root / "class/net/eth1/device").symlink_to(card)
    if iommu:
        group = root / "kernel/iommu_groups/5"
        (group / "devices").mkdir(parents=True)
        (group / "type").write_text("DMA-FQ\n")
        for address in (E1000E_ADDRESS, VIRTIO_ADDRESS):
            device = root / "bus/pci/devices" / address
            (device / "iommu_group").symlink_to(group)
            (group / "devices" / address).symlink_to(device)
    return Sysfs(root)


def _device(root: Path, address: str, config: bytes, resource: str) -> Path:
    """The folder of a device, its numbers from its configuration space."""
    folder = root / "bus/pci/devices" / address
    folder.mkdir()
    fields = {
        "vendor": config[1::-1],
        "device": config[3:1:-1],
        "subsystem_vendor": config[0x2D:0x2B:-1],
        "subsystem_device": config[0x2F:0x2D:-1],
        "class": config[0xB:8:-1],
        "revision": config[8:9],
    }
    for name, octets in fields.items():
        (folder / name).write_text(f"0x{octets.hex()}\n")
    (folder / "config").write_bytes(config)
    (folder / "resource").write_text(resource)
    (folder / "driver_override").write_text("(null)\n")
    (folder / "numa_node").write_text("-1\n")
    return folder
