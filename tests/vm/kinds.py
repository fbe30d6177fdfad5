"""The kinds of guest: what machine each is and what its kernel loads."""

from __future__ import annotations

import os

import attrs

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
"""What it takes to reach the host's files."""


@attrs.frozen
class Kind:
    """A machine, the kernel's command line and modules, and limits."""

    name: str
    memory: int = 768
    """MiB."""
    cpus: int = 1
    machine: str = "q35"
    cpu: str = "qemu64"
    devices: tuple[str, ...] = ()
    """Arguments of QEMU."""
    arguments: tuple[str, ...] = ()
    """Added to the kernel's command line."""
    hypervisor: tuple[str, ...] | None = None
    """Xen's command line; with it the kernel is that of dom0."""
    modules: tuple[str, ...] = ()
    """Names of modules of Debian's kernel, or paths of others (foo.ko)."""
    setup: tuple[str, ...] = ()
    """Shell commands run before the tests; one that fails fails them all."""
    timeout: float = 60.0
    """Seconds that a test may take."""
    boot_timeout: float = 120.0
    """Seconds from QEMU's start to the first test, on a busy host."""


PLAIN = Kind("plain")

_CARDS = (
    *("-device", "edu,dma_mask=0xffffffffffffffff"),
    *("-netdev", "user,id=net0", "-device", "e1000,netdev=net0,romfile="),
    *("-netdev", "user,id=net1", "-device", "e1000e,netdev=net1,romfile="),
    *("-netdev", "user,id=net2"),
    "-device",
    "virtio-net-pci,netdev=net2,disable-legacy=on,iommu_platform=on,romfile=",
)

PCI = Kind(
    "pci",
    memory=1024,
    devices=(
        # It serves the devices that are named after it.
        *("-device", "intel-iommu,intremap=on"),
        *_CARDS,
        # Below a port it has PCI Express, and so a reset of its own.
        *("-device", "pcie-root-port,id=port0,chassis=1"),
        "-device",
        "virtio-rng-pci,bus=port0,disable-legacy=on,iommu_platform=on",
    ),
    arguments=("intel_iommu=on", "hugepages=64"),
    modules=(
        "vfio-pci",
        "vfio_iommu_type1",
        "uio_pci_generic",
        "e1000",
        "e1000e",
        "virtio_net",
    ),
)

BARE_PCI = Kind(
    "bare-pci",
    memory=1024,
    devices=_CARDS,
    arguments=("hugepages=64",),
    modules=("vfio-pci", "vfio_iommu_type1", "uio_pci_generic", "e1000", "e1000e"),
)
"""The same without an IOMMU."""


def _wired(hub: int, *cards: str) -> tuple[str, ...]:
    """Network cards on one hub, each on the slot of the bus that it names."""
    arguments = []
    for card in cards:
        name = card.rpartition("=")[2]
        arguments += ["-netdev", f"hubport,id=port{name},hubid={hub}"]
        arguments += ["-device", f"{card},netdev=port{name},romfile="]
    return tuple(arguments)


PCI_HUB = Kind(
    "pci-hub",
    memory=1024,
    devices=(
        *("-device", "intel-iommu,intremap=on"),
        *_wired(1, "e1000,addr=0x10", "e1000e,addr=0x11"),
        *_wired(2, "e1000e,addr=0x12", "e1000e,addr=0x13"),
        *("-netdev", "user,id=net0"),
        *("-device", "e1000-82545em,addr=0x14,netdev=net0,romfile="),
    ),
    arguments=("intel_iommu=on",),
    modules=("vfio-pci", "vfio_iommu_type1", "e1000", "e1000e"),
)
"""Network cards that are connected to each other."""

DPDK = attrs.evolve(
    PCI_HUB,
    name="dpdk",
    memory=1536,
    cpu="Nehalem",
    arguments=("intel_iommu=on", "hugepages=160"),
    setup=("mkdir -p /dev/hugepages", "mount -t hugetlbfs hugetlbfs /dev/hugepages"),
)
"""The same for DPDK, which wants SSE4.2 and huge pages."""

_INTEL = ("e1000,addr=0x10", "e1000e,addr=0x11")
_VIRTIO = "virtio-net-pci,disable-legacy=on,iommu_platform=on,addr=0x12"

WIRED_PCI = attrs.evolve(
    PCI,
    name="wired-pci",
    devices=(
        *("-device", "intel-iommu,intremap=on"),
        *_wired(1, *_INTEL, _VIRTIO),
    ),
)
"""One Intel card of each kind and Linux's own on one wire. (Not QEMU's user
network: that answers for every address.)"""

WIRED_BARE_PCI = attrs.evolve(
    BARE_PCI,
    name="wired-bare-pci",
    devices=_wired(1, *_INTEL, _VIRTIO),
    modules=(*BARE_PCI.modules, "virtio_net"),
)

XEN = Kind(
    "xen",
    memory=1024,
    hypervisor=("dom0_mem=700M",),
    modules=(
        "xen-evtchn",
        "xen-gntdev",
        "xen-gntalloc",
        "xen-privcmd",
        "xenfs",
        "xen-netback",
        "xen-netfront",
        "tun",
    ),
    setup=(
        "mount -t xenfs xenfs /proc/xen",
        "mount -t tmpfs tmpfs /var/lib",
        "mount -t tmpfs tmpfs /var/log",
        "mkdir -p /var/lib/xen /var/lib/xenstored /var/log/xen /run/xen /run/xenstored",
        "xenstored",
        "xen-init-dom0",
        "xenconsoled --log=guest --log-dir=/var/log/xen",
    ),
)

NETMAP_MODULE = os.environ.get("RUMPHYPER_NETMAP_MODULE", "")
"""netmap.ko for Debian's kernel: nobody packages it."""

NETMAP = Kind(
    "netmap",
    memory=1024,
    cpus=2,
    arguments=("hugepages=16",),
    modules=("veth", NETMAP_MODULE) if NETMAP_MODULE else (),
)

KINDS = {
    kind.name: kind
    for kind in (
        *(PLAIN, PCI, BARE_PCI, PCI_HUB, WIRED_PCI, WIRED_BARE_PCI),
        *(DPDK, XEN, NETMAP),
    )
}
