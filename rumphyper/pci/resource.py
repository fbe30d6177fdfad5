"""A device's files in sysfs: configuration space, BARs, reset.

Facts: the kernel's Documentation/PCI/sysfs-pci.rst, drivers/pci/pci-sysfs.c.
"""

from __future__ import annotations

import contextlib
import errno
import os

from rumphyper.pci import regs
from rumphyper.pci.address import Address
from rumphyper.pci.bar import Bar, FileBar, MappedBar, mapped
from rumphyper.pci.config import Config
from rumphyper.pci.errors import DeniedError, PciError, explained, opened
from rumphyper.pci.sysfs import BarInfo, Sysfs


def open_config(
    sysfs: Sysfs, address: Address, cleanup: contextlib.ExitStack, *, writable: bool
) -> Config:
    """Open configuration space; ``cleanup`` closes the file.

    Who is not privileged may read the first 64 octets. Raises DeniedError.
    """
    path = sysfs.path(address) / "config"
    fd = opened(path, os.O_RDWR if writable else os.O_RDONLY)
    cleanup.callback(os.close, fd)
    size = os.fstat(fd).st_size
    extended = size >= regs.CONFIG_EXTENDED_SIZE
    size = regs.CONFIG_EXTENDED_SIZE if extended else regs.CONFIG_SIZE
    return Config(fd, 0, size, f"PCI device {address}", writable=writable)


def open_bar(sysfs: Sysfs, address: Address, info: BarInfo, *, writable: bool) -> Bar:
    """Map a BAR's memory, or open its ports. Raises DeniedError, PciError."""
    path = str(sysfs.path(address) / f"resource{info.index}")
    thing = f"PCI device {address}: BAR {info.index}"
    fd = opened(path, os.O_RDWR if writable else os.O_RDONLY)
    if info.kind == "io":
        return _OwnFileBar(thing, info.index, info.kind, fd, info.size, 0)
    try:
        return _map(thing, path, info, fd, writable)
    finally:
        os.close(fd)  # the mapping stays


def _map(thing: str, path: str, info: BarInfo, fd: int, writable: bool) -> MappedBar:
    try:
        return mapped(thing, info.index, fd, info.size, 0, writable=writable)
    except DeniedError as error:
        cause = "the kernel is locked down (Secure Boot)"
        raise DeniedError(path, cause, "use vfio", error.errno) from None
    except PciError as error:
        if error.errno != errno.EINVAL:
            raise
        cause = "the kernel does not map what a driver of its own is using"
        remedy = f"rumphyper pci unbind, or bind vfio-pci ({path})"
        raise PciError(thing, cause, remedy, error.errno) from None


class _OwnFileBar(FileBar):
    """A FileBar that owns its descriptor."""

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def reset(sysfs: Sysfs, address: Address) -> None:
    """Have the kernel reset the device alone. Raises PciError."""
    path = sysfs.path(address) / "reset"
    if not path.exists():
        cause = "the device has no way to be reset alone"
        raise PciError(f"PCI device {address}", cause, errno=errno.ENOTTY)
    write(path, "1")


def write(path: os.PathLike[str], text: str, remedy: str = "") -> None:
    """Write to a file of sysfs in one call. Raises DeniedError, PciError."""
    fd = opened(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise explained(error, str(path), remedy) from None
    finally:
        os.close(fd)
