"""The probes of PCI: the bus, vfio with its IOMMU, UIO with its huge pages."""

from __future__ import annotations

import os

from rumphyper.doctor.finding import Finding, device
from rumphyper.errors import RumphyperError
from rumphyper.link.e1000_regs import MODELS, VENDOR
from rumphyper.pci import vfio_abi
from rumphyper.pci.container import Container, is_vfio
from rumphyper.pci.memory import free_hugepages
from rumphyper.pci.sysfs import DeviceInfo, Sysfs
from rumphyper.pci.uio import DRIVERS


def check_pci() -> Finding:
    """Count the devices on the bus, and see whether their registers open."""
    try:
        devices = Sysfs().devices()
    except RumphyperError as error:
        return Finding("pci", "denied", str(error), error.remedy or "run as root")
    if not devices:
        return Finding(
            "pci",
            "unsupported",
            "the host has no PCI devices",
            "use a host, or a virtual machine, that has",
        )
    config = Sysfs().path(devices[0].address) / "config"
    if not os.access(config, os.W_OK):
        return Finding(
            "pci", "denied", f"{config} may not be opened for writing", "run as root"
        )
    return Finding("pci", "ready", f"{len(devices)} devices; {_cards(devices)}")


def _cards(devices: list[DeviceInfo]) -> str:
    """The network cards that a link can drive, and whose they are now."""
    cards = [
        f"pci:{info.address} ({MODELS[info.device].name}, bound to {info.driver})"
        for info in devices
        if info.vendor == VENDOR and info.device in MODELS
    ]
    return f"links drive {', '.join(cards)}" if cards else "links drive none of them"


def check_vfio() -> Finding:
    """Open a container of vfio, and look for IOMMU groups and bound devices."""
    found = device(
        "vfio",
        vfio_abi.CONTAINER,
        "load the module: modprobe vfio-pci",
        "run as root",
    )
    if found:
        return found
    try:
        Container().close()
        devices = Sysfs().devices()
    except RumphyperError as error:
        return Finding("vfio", "missing", f"{error.thing}: {error.cause}", error.remedy)
    groups = {info.group for info in devices if info.group is not None}
    if not groups:
        return Finding(
            "vfio",
            "unsupported",
            "the host has no IOMMU in use",
            "switch it on (firmware; kernel argument intel_iommu=on) or use UIO",
        )
    bound = [info for info in devices if is_vfio(info.driver)]
    return Finding("vfio", "ready", f"{len(groups)} IOMMU groups; {_bound(bound)}")


def check_uio() -> Finding:
    """Look for a driver of UIO, bound devices and huge pages for their DMA."""
    drivers = [name for name in Sysfs().drivers() if name in DRIVERS]
    if not drivers:
        return Finding(
            "uio",
            "missing",
            "no driver of UIO is loaded",
            "load one: modprobe uio_pci_generic",
        )
    bound = [info for info in Sysfs().devices() if info.driver in DRIVERS]
    pages = free_hugepages()
    text = f"{', '.join(drivers)}; {_bound(bound)}; {pages} huge pages of 2 MiB free"
    if not pages:
        text += " (DMA needs some: /proc/sys/vm/nr_hugepages)"
    return Finding("uio", "ready", text)


def _bound(devices: list[DeviceInfo]) -> str:
    if not devices:
        return "no device is bound"
    return f"bound: {', '.join(str(info.address) for info in devices)}"
