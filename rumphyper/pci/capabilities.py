"""The capabilities in a device's configuration space, decoded.

Works on octets, so that a recorded configuration space will do. What a device
says is not trusted: a list that loops, leaves its area or is cut off ends there,
and a capability that is cut off stays undecoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from rumphyper.pci import regs
from rumphyper.pci.capability import (
    Capability,
    ExpressCapability,
    MsiCapability,
    MsixCapability,
    PowerCapability,
    SerialNumber,
    VendorCapability,
    VendorExtended,
)


def capabilities(config: bytes) -> list[Capability]:
    """The capabilities in ``config``, the octets from the start of the space.

    64 octets (all that the kernel shows without privilege) hold none.
    """
    found = [_decoded(config, *entry) for entry in _standard(config)]
    return found + [_decoded(config, *entry) for entry in _extended(config)]


def _standard(config: bytes) -> Iterator[tuple[Capability, int]]:
    if len(config) < regs.CONFIG_SIZE:
        return
    if not config[regs.STATUS] & regs.STATUS_CAPABILITIES:
        return
    seen = set()
    offset = config[regs.CAPABILITY_LIST] & ~3
    while offset >= regs.HEADER_SIZE and offset not in seen:
        seen.add(offset)
        number, follows = config[offset], config[offset + regs.CAP_NEXT]
        if number == 0xFF:  # nobody answers: the device is gone or asleep
            return
        name = regs.CAPABILITIES.get(number, f"unknown {number:#04x}")
        yield Capability(number, offset, name), regs.CONFIG_SIZE
        offset = follows & ~3


def _extended(config: bytes) -> Iterator[tuple[Capability, int]]:
    seen = set()
    offset = regs.CONFIG_SIZE
    while regs.CONFIG_SIZE <= offset <= len(config) - 4 and offset not in seen:
        seen.add(offset)
        (header,) = struct.unpack_from("<I", config, offset)
        if header in (0, 0xFFFFFFFF):
            return
        number = header & 0xFFFF
        version = header >> regs.EXT_HEADER_VERSION_SHIFT & 0xF
        name = regs.EXTENDED_CAPABILITIES.get(number, f"unknown {number:#06x}")
        yield Capability(number, offset, name, True, version), len(config)
        offset = header >> regs.EXT_HEADER_NEXT_SHIFT & ~3


def _decoded(config: bytes, plain: Capability, end: int) -> Capability:
    """The capability with what its registers say, if they are all there."""
    table = _EXTENDED_DECODERS if plain.extended else _DECODERS
    decode = table.get(plain.id)
    if decode is None:
        return plain
    try:
        return decode(plain, config[plain.offset : end])
    except struct.error:  # cut off by the end of its area
        return plain


def _header(plain: Capability) -> dict[str, Any]:
    return attrs.asdict(plain)


def _power(plain: Capability, data: bytes) -> Capability:
    able, control = struct.unpack_from("<HH", data, regs.POWER_CAPABILITIES)
    optional = ((1, regs.POWER_D1), (2, regs.POWER_D2))
    return PowerCapability(
        **_header(plain),
        revision=able & regs.POWER_VERSION,
        state=control & regs.POWER_STATE,
        states=(0, *(state for state, bit in optional if able & bit), 3),
    )


def _msi(plain: Capability, data: bytes) -> Capability:
    (flags,) = struct.unpack_from("<H", data, regs.MSI_FLAGS)
    return MsiCapability(
        **_header(plain),
        vectors=1 << (flags >> regs.MSI_CAPABLE_SHIFT & regs.MSI_COUNT),
        active=1 << (flags >> regs.MSI_ACTIVE_SHIFT & regs.MSI_COUNT),
        enabled=bool(flags & regs.MSI_ENABLE),
        wide=bool(flags & regs.MSI_64BIT),
        maskable=bool(flags & regs.MSI_MASKABLE),
    )


def _msix(plain: Capability, data: bytes) -> Capability:
    flags, table, pending = struct.unpack_from("<HII", data, regs.MSIX_FLAGS)
    return MsixCapability(
        **_header(plain),
        vectors=(flags & regs.MSIX_SIZE) + 1,
        enabled=bool(flags & regs.MSIX_ENABLE),
        masked=bool(flags & regs.MSIX_MASK_ALL),
        table_bar=table & regs.MSIX_BAR,
        table_offset=table & ~regs.MSIX_BAR,
        pending_bar=pending & regs.MSIX_BAR,
        pending_offset=pending & ~regs.MSIX_BAR,
    )


def _express(plain: Capability, data: bytes) -> Capability:
    flags, able, control = struct.unpack_from("<HIH", data, regs.EXP_FLAGS)
    (link,) = struct.unpack_from("<I", data, regs.EXP_LINK_CAPABILITIES)
    (status,) = struct.unpack_from("<H", data, regs.EXP_LINK_STATUS)
    kind = flags >> regs.EXP_KIND_SHIFT & 0xF
    payload = control >> regs.EXP_CONTROL_PAYLOAD_SHIFT & regs.EXP_PAYLOAD
    read = control >> regs.EXP_CONTROL_READ_SHIFT & regs.EXP_PAYLOAD
    return ExpressCapability(
        **_header(plain),
        revision=flags & regs.EXP_VERSION,
        kind=regs.EXP_KINDS.get(kind, f"kind {kind:#x}"),
        payload=128 << payload,
        payload_max=128 << (able & regs.EXP_PAYLOAD),
        read_request=128 << read,
        speed=regs.EXP_SPEEDS.get(status & regs.EXP_SPEED, 0),
        speed_max=regs.EXP_SPEEDS.get(link & regs.EXP_SPEED, 0),
        width=status >> regs.EXP_WIDTH_SHIFT & regs.EXP_WIDTH,
        width_max=link >> regs.EXP_WIDTH_SHIFT & regs.EXP_WIDTH,
        function_reset=bool(able & regs.EXP_FLR),
    )


def _vendor(plain: Capability, data: bytes) -> Capability:
    (length,) = struct.unpack_from("<B", data, 2)
    return VendorCapability(**_header(plain), data=bytes(data[: max(3, length)]))


def _vendor_extended(plain: Capability, data: bytes) -> Capability:
    (header,) = struct.unpack_from("<I", data, 4)
    return VendorExtended(
        **_header(plain),
        vendor_id=header & 0xFFFF,
        revision=header >> 16 & 0xF,
        length=header >> 20,
    )


def _serial(plain: Capability, data: bytes) -> Capability:
    (number,) = struct.unpack_from("<Q", data, 4)
    return SerialNumber(**_header(plain), serial=number.to_bytes(8, "big"))


_Decoder = Callable[[Capability, bytes], Capability]
_DECODERS: dict[int, _Decoder] = {
    regs.CAP_POWER: _power,
    regs.CAP_MSI: _msi,
    regs.CAP_MSIX: _msix,
    regs.CAP_EXPRESS: _express,
    regs.CAP_VENDOR: _vendor,
}
_EXTENDED_DECODERS: dict[int, _Decoder] = {
    regs.EXT_VENDOR: _vendor_extended,
    regs.EXT_SERIAL: _serial,
}
