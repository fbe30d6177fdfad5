"""pci/place: registers by name, on devices of a recorded folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.pci import Device, open_device
from rumphyper.pci.errors import RegisterError
from rumphyper.pci.place import Place, hex_dump
from tests.pci.recorded import VIRTIO_NET, space
from tests.pci.tree import VIRTIO_ADDRESS, make_tree


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    sysfs = make_tree(tmp_path)
    folder = tmp_path / "bus/pci/devices" / VIRTIO_ADDRESS
    (folder / "enable").touch()
    (folder / "resource1").write_bytes(bytes(range(256)) * 16)
    with open_device(VIRTIO_ADDRESS, sysfs=sysfs) as device:
        yield device


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("config", Place(None)),
        ("config:0x3c", Place(None, 0x3C)),
        ("bar0", Place(0)),
        ("BAR5:0xC0", Place(5, 0xC0)),
        ("bar1:192", Place(1, 192)),
    ],
)
def test_names(text: str, place: Place) -> None:
    assert Place.parse(text) == place == Place.parse(str(place))


@pytest.mark.parametrize(
    "text", ["", "bar6:0", "bar:0", "config:", "config:-4", "config:zz", "0x40", "rom"]
)
def test_names_that_do_not_parse(text: str) -> None:
    with pytest.raises(RegisterError, match="write config:OFFSET or barN:OFFSET"):
        Place.parse(text)


def test_reading_and_writing(device: Device) -> None:
    assert Place.parse("config:0").read(device, 32) == 0x10411AF4
    assert Place.parse("config:2").read(device, 16) == 0x1041
    assert Place.parse("config:0xb").read(device, 8) == 2
    assert Place.parse("bar1:8").read(device, 64) == 0x0F0E0D0C0B0A0908
    for where, width in (("config:0x3c", 8), ("config:0xe0", 16), ("config:0xe4", 32)):
        Place.parse(where).write(device, 0x5A, width)  # type: ignore[arg-type]
        assert Place.parse(where).read(device, width) == 0x5A  # type: ignore[arg-type]
    Place.parse("bar1:16").write(device, 7, 16)
    assert device.bar(1).read(16, 32) == 0x13120007
    for call in (
        lambda: Place(None).read(device, 64),
        lambda: Place(None).write(device, 0, 64),
    ):
        with pytest.raises(RegisterError, match="64 bits are no width"):
            call()


def test_dumps(device: Device) -> None:
    assert Place(None).dump(device, None) == space(VIRTIO_NET)
    assert Place(None, 0x10).dump(device, 5) == space(VIRTIO_NET)[0x10:0x15]
    for width in (8, 16, 32, 64):
        data = Place(1, 8).dump(device, 24, width)
        assert data == bytes(range(8, 32))
    assert Place(1, 4092).dump(device, None) == bytes(range(252, 256))
    for place, count in ((Place(None, 250), 7), (Place(1, 4096), 1)):
        with pytest.raises(RegisterError, match="past the end"):
            place.dump(device, count)


def test_rows() -> None:
    assert hex_dump(bytes(range(18)), 0) == [
        "00: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f",
        "10: 10 11",
    ]
    assert hex_dump(b"\1\2", 0x11F) == [
        "110:                                              01",
        "120: 02",
    ]
    assert hex_dump(b"", 4) == []
