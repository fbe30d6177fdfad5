"""Where a PCI device is: domain, bus, device and function.

Written as the kernel, lspci(8) and DPDK do: ``0000:00:03.0``, in hexadecimal;
the domain may be left out when it is 0.
"""

from __future__ import annotations

import re

import attrs
from typing_extensions import Self

from rumphyper.pci.errors import PciAddressError

_TEXT = re.compile(
    r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-9a-f])", re.IGNORECASE
)
_LIMITS = {"domain": 0xFFFFFFFF, "bus": 0xFF, "device": 0x1F, "function": 7}


@attrs.frozen(order=True)
class Address:
    """A place on a bus: domain to 2**32 - 1, bus to 255, device to 31, function to 7.

    Sorts as the bus is scanned. Raises PciAddressError.
    """

    domain: int
    bus: int
    device: int
    function: int

    def __attrs_post_init__(self) -> None:
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                cause = f"{name} {value:#x} is not in 0 to {limit:#x}"
                raise PciAddressError("PCI address", cause, "see `rumphyper pci list`")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0000:00:03.0`` or ``00:03.0``. Raises PciAddressError."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            cause = "not domain:bus:device.function"
            remedy = "write it as 0000:00:03.0 or 00:03.0, in hexadecimal"
            raise PciAddressError(f"PCI address {text!r}", cause, remedy)
        domain, bus, device, function = found.groups()
        try:
            return cls(
                int(domain or "0", 16), int(bus, 16), int(device, 16), int(function, 16)
            )
        except PciAddressError as error:
            thing = f"PCI address {text!r}"
            raise PciAddressError(thing, error.cause, error.remedy) from None

    def __str__(self) -> str:
        """As the kernel names the device: the domain has four digits or more."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.device:02x}.{self.function:x}"
