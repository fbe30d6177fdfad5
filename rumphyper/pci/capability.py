"""What a capability in configuration space says, as values.

Facts: the kernel's include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Capability:
    """One entry of a list: ``offset`` is where it starts in configuration space.

    ``version`` is the header's for extended capabilities, else 0.
    """

    id: int
    offset: int
    name: str
    extended: bool = False
    version: int = 0

    def describe(self) -> str:
        """What it says, on part of a line; empty where nothing is decoded."""
        return ""


@attrs.frozen
class PowerCapability(Capability):
    """Power management: ``state`` is 0 to 3 for D0 to D3, ``states`` those it has."""

    revision: int = 0
    state: int = 0
    states: tuple[int, ...] = ()

    def describe(self) -> str:
        has = " ".join(f"D{state}" for state in self.states)
        return f"revision {self.revision}, in D{self.state}, has {has}"


@attrs.frozen
class MsiCapability(Capability):
    """MSI: ``vectors`` it can send, of which ``active`` are granted."""

    vectors: int = 0
    active: int = 0
    enabled: bool = False
    wide: bool = False
    """Whether the address may be above 4 GiB."""

    maskable: bool = False

    def describe(self) -> str:
        more = "64-bit" if self.wide else "32-bit"
        more += ", maskable" if self.maskable else ""
        return f"{_onoff(self.enabled)}, {self.active} of {self.vectors}, {more}"


@attrs.frozen
class MsixCapability(Capability):
    """MSI-X: where the table and the pending bits are, as BAR and offset."""

    vectors: int = 0
    enabled: bool = False
    masked: bool = False
    table_bar: int = 0
    table_offset: int = 0
    pending_bar: int = 0
    pending_offset: int = 0

    def describe(self) -> str:
        return (
            f"{_onoff(self.enabled)}, {self.vectors} vectors, "
            f"table in BAR {self.table_bar} at {self.table_offset:#x}, "
            f"pending bits in BAR {self.pending_bar} at {self.pending_offset:#x}"
        )


@attrs.frozen
class ExpressCapability(Capability):
    """PCI Express: payloads and read requests in octets, speeds in GT/s.

    A speed is 0 where the field has no known value, as for integrated endpoints.
    """

    revision: int = 0
    kind: str = ""
    payload: int = 0
    payload_max: int = 0
    read_request: int = 0
    speed: float = 0
    speed_max: float = 0
    width: int = 0
    width_max: int = 0
    function_reset: bool = False

    def describe(self) -> str:
        text = f"revision {self.revision}, {self.kind}, payload {self.payload} of "
        text += f"{self.payload_max}, read request {self.read_request}"
        if self.speed_max:
            text += f", {self.speed:g} GT/s x{self.width} of "
            text += f"{self.speed_max:g} GT/s x{self.width_max}"
        return text + (", function reset" if self.function_reset else "")


@attrs.frozen
class VendorCapability(Capability):
    """The vendor's own: ``data`` is all of it, with id, next and length."""

    data: bytes = b""

    def describe(self) -> str:
        return f"{len(self.data)} octets: {self.data[3:].hex(' ')}"


@attrs.frozen
class VendorExtended(Capability):
    """The vendor's own in the extended list: its id, revision and octets."""

    vendor_id: int = 0
    revision: int = 0
    length: int = 0

    def describe(self) -> str:
        return f"id {self.vendor_id:#x}, revision {self.revision}, {self.length} octets"


@attrs.frozen
class SerialNumber(Capability):
    """The device's serial number of 64 bits, most significant octet first."""

    serial: bytes = b""

    def describe(self) -> str:
        return self.serial.hex("-")


def _onoff(enabled: bool) -> str:
    return "on" if enabled else "off"
