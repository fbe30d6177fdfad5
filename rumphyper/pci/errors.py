"""Errors of PCI devices: each says which device or file, why, and the remedy."""

from __future__ import annotations

import errno as errnos
import os

from rumphyper.errors import HostError, RumphyperError


class PciError(HostError):
    """Base of the errors of PCI; ``errno`` is 0 where the kernel gave none."""


class PciAddressError(PciError, ValueError):
    """A text that is no PCI address and names no interface of a PCI device."""


class DeviceNotFoundError(PciError):
    """No device has this address."""


class DeviceGoneError(PciError):
    """The device vanished: it was unplugged or removed from the bus."""


class DeviceClosedError(PciError):
    """The device, or this part of it, was closed."""


class DeviceBusyError(PciError):
    """Somebody else has the device, or its interface is in use."""


class DeniedError(PciError):
    """A file may not be opened or written; the text names the file."""


class NoIommuError(PciError):
    """The host has no IOMMU in use for the device, or one that stands in the way."""


class GroupError(PciError):
    """The IOMMU group is not viable; the text names the devices that are why."""


class RegisterError(PciError, ValueError):
    """An access past the end, unaligned, of another width or out of range."""


class ReadOnlyError(PciError):
    """A write to a device that is open for reading only."""


class DmaError(PciError):
    """Memory that the device can reach is not to be had as asked for."""


class InterruptError(PciError):
    """An interrupt that the device, the driver or the host does not offer."""


class BindError(PciError):
    """A driver could not be bound; the device has the driver that it had before."""


def opened(path: str | os.PathLike[str], flags: int, remedy: str = "") -> int:
    """Open a file of a device, close-on-exec; return its descriptor.

    Raises DeniedError, which names the file, DeviceGoneError where it does not
    exist any more, DeviceBusyError, PciError.
    """
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise explained(error, str(path), remedy) from None


def explained(error: OSError | HostError, thing: str, remedy: str = "") -> PciError:
    """What a failed call on a device's file means, as one of the errors here."""
    number = error.errno or 0
    if number in (errnos.EACCES, errnos.EPERM):
        who = "run as root, or have it made accessible to you"
        return DeniedError(thing, os.strerror(number), remedy or who, number)
    if number in (errnos.ENOENT, errnos.ENODEV, errnos.ENXIO):
        cause = "the device is gone, or was never there"
        remedy = remedy or "see `rumphyper pci list`"
        return DeviceGoneError(thing, cause, remedy, number)
    if number == errnos.EBUSY:
        remedy = remedy or "close it there first"
        return DeviceBusyError(thing, "somebody else has it open", remedy, number)
    cause = error.cause if isinstance(error, RumphyperError) else os.strerror(number)
    return PciError(thing, cause, remedy, number)
