"""What follows ``dpdk:``: a port's number, a virtual device, a PCI address."""

from __future__ import annotations

import re

import attrs

from rumphyper.errors import LinkstrError

FORMS = "dpdk:0 (a port), dpdk:net_tap0,iface=tap0 or dpdk:0000:03:00.0"

_PORT = re.compile(r"\d+")
_PCI = re.compile(r"(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)
_VDEV = re.compile(r"[a-z][a-z0-9]*_[a-z0-9_]+")


@attrs.frozen
class Device:
    """One device: either a port that is there already, or one to be plugged.

    ``bus`` is ``port``, ``vdev`` or ``pci``. ``arguments`` are the driver's own.
    """

    bus: str
    name: str
    arguments: str = ""

    @property
    def text(self) -> str:
        return f"{self.name},{self.arguments}" if self.arguments else self.name


def parse(rest: str) -> Device:
    """Read what follows the colon. Raises LinkstrError."""
    name, _, arguments = rest.partition(",")
    if _PORT.fullmatch(name):
        if arguments:
            cause = f"{arguments!r} behind a port's number"
            raise LinkstrError(f"dpdk:{rest}", cause, "a port is configured already")
        return Device("port", name)
    if _PCI.fullmatch(name):
        full = name if name.count(":") == 2 else f"0000:{name}"
        return Device("pci", full.lower(), arguments)
    if _VDEV.fullmatch(name):
        return Device("vdev", name, arguments)
    cause = f"{name!r} is no port, virtual device or PCI address"
    raise LinkstrError(f"dpdk:{rest}", cause, FORMS)
