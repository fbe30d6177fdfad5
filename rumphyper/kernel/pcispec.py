"""PCI devices for a kernel, as text: ``0000:00:03.0,driver=vfio,restore``."""

from __future__ import annotations

import attrs
from typing_extensions import Self

from rumphyper.pci.errors import PciAddressError
from rumphyper.pci.irq import Kind

FORM = "ADDRESS[,driver=vfio|uio][,restore][,irq=msi|intx]"

KERNEL_DRIVERS = {"vfio": "vfio-pci", "uio": "uio_pci_generic"}
"""What ``driver=`` binds."""

KINDS: dict[str, Kind] = {"msi": "msi", "intx": "intx"}


@attrs.frozen
class PciSpec:
    """A device that a kernel is to have."""

    address: str
    """Or the name of its network interface."""

    driver: str | None = None
    """A key of `KERNEL_DRIVERS` to bind it by; None: as it is bound."""

    restore: bool = False
    """Whether its former driver gets it back in the end."""

    irq: Kind | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `FORM`. Raises PciAddressError."""
        address, *words = text.split(",")
        settings: dict[str, object] = {}
        for word in words:
            key, _, value = word.partition("=")
            if word == "restore":
                settings[key] = True
            elif key == "driver" and value in KERNEL_DRIVERS:
                settings[key] = value
            elif key == "irq" and value in KINDS:
                settings[key] = KINDS[value]
            else:
                cause = f"{word!r} is no setting"
                raise PciAddressError(f"PCI device {text!r}", cause, f"write {FORM}")
        if settings.get("restore") and "driver" not in settings:
            cause = "'restore' without a driver that is bound instead"
            raise PciAddressError(f"PCI device {text!r}", cause, f"write {FORM}")
        return cls(address, **settings)  # type: ignore[arg-type]
