"""pci/capabilities: recorded devices, and devices that lie."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from rumphyper.pci.capabilities import capabilities
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
from tests.pci.recorded import E1000, E1000E, EDU, VIRTIO_NET, space


def test_edu_has_msi() -> None:
    assert capabilities(space(EDU)) == [
        MsiCapability(5, 0x40, "MSI", vectors=1, active=1, wide=True)
    ]


def test_e1000_has_none() -> None:
    assert capabilities(space(E1000)) == []


def test_e1000e_has_both_lists() -> None:
    """As lspci -vv prints them, in the same guest."""
    power, msi, express, msix, errors, serial = capabilities(space(E1000E, 4096))
    assert power == PowerCapability(
        1, 0xC8, "power management", revision=2, state=0, states=(0, 3)
    )
    assert msi == MsiCapability(5, 0xD0, "MSI", vectors=1, active=1, wide=True)
    assert express == ExpressCapability(
        0x10,
        0xE0,
        "PCI Express",
        revision=1,
        kind="root complex integrated endpoint",
        payload=128,
        payload_max=128,
        read_request=128,
        speed=2.5,
        speed_max=2.5,
        width=1,
        width_max=1,
    )
    assert msix == MsixCapability(
        0x11,
        0xA0,
        "MSI-X",
        vectors=5,
        enabled=True,
        table_bar=3,
        table_offset=0,
        pending_bar=3,
        pending_offset=0x2000,
    )
    assert errors == Capability(1, 0x100, "advanced error reporting", True, 2)
    assert isinstance(serial, SerialNumber)
    assert serial.serial == bytes.fromhex("525400ffff123457")  # from its MAC
    assert serial.describe() == "52-54-00-ff-ff-12-34-57"


def test_virtio_has_five_of_its_own() -> None:
    """struct virtio_pci_cap (linux/virtio_pci.h): type, BAR, offset and length."""
    msix, *vendor = capabilities(space(VIRTIO_NET))
    assert isinstance(msix, MsixCapability)
    assert (msix.vectors, msix.table_bar, msix.pending_offset) == (4, 1, 0x800)
    found = {}
    for each in vendor:
        assert isinstance(each, VendorCapability)
        kind, bar = each.data[3:5]
        found[kind] = (bar, *struct.unpack_from("<II", each.data, 8))
    assert found == {
        1: (4, 0x0000, 0x1000),  # common configuration
        3: (4, 0x1000, 0x1000),  # interrupt status
        4: (4, 0x2000, 0x1000),  # the device's configuration
        2: (4, 0x3000, 0x1000),  # notification
        5: (0, 0, 0),  # access through configuration space
    }


def test_the_extended_vendor_capability() -> None:
    """A VSEC: header, then id, revision and length (pci_regs.h)."""
    config = bytearray(space(E1000, 4096))
    struct.pack_into("<II", config, 0x100, 0x1 << 16 | 0x0B, 0x2A << 20 | 3 << 16 | 7)
    assert capabilities(bytes(config)) == [
        VendorExtended(
            0x0B, 0x100, "vendor specific", True, 1, vendor_id=7, revision=3, length=42
        )
    ]


def test_who_is_not_privileged_sees_none() -> None:
    assert capabilities(space(E1000E)[:64]) == []


def test_a_list_that_loops_ends() -> None:
    config = bytearray(space(EDU))
    config[0x41] = 0x50
    config[0x50:0x53] = bytes([9, 0x40, 3])
    assert [each.offset for each in capabilities(bytes(config))] == [0x40, 0x50]
    config = bytearray(space(E1000E, 4096))
    struct.pack_into("<I", config, 0x140, 0x100 << 20 | 0x10003)
    found = capabilities(bytes(config))
    assert [each.offset for each in found if each.extended] == [0x100, 0x140]


def test_a_capability_that_is_cut_off_stays_undecoded() -> None:
    config = bytearray(space(EDU))
    config[0x34] = 0xFC
    config[0xFC:0xFE] = bytes([0x11, 0])
    assert capabilities(bytes(config)) == [Capability(0x11, 0xFC, "MSI-X")]


def test_a_device_that_is_gone_has_none() -> None:
    assert capabilities(b"\xff" * 4096) == []


@given(st.binary(max_size=4096), st.binary(min_size=16, max_size=400))
def test_whatever_a_device_says_the_walk_ends(data: bytes, tail: bytes) -> None:
    config = bytearray((data + tail * 300)[:4096])
    config[6] |= 0x10
    for each in capabilities(bytes(config)):
        assert 0x40 <= each.offset < 4096
        assert isinstance(each.describe(), str)
