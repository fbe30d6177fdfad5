"""pci/config over a file: registers, bounds, and what a kernel may refuse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumphyper.pci.config import Config
from rumphyper.pci.errors import (
    DeniedError,
    DeviceClosedError,
    DeviceGoneError,
    PciError,
    ReadOnlyError,
    RegisterError,
)
from tests.pci.recorded import E1000E, VIRTIO_NET, space

DATA = space(E1000E, 4096)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A space of 4096 octets, with 32 others before it."""
    path = tmp_path / "config"
    path.write_bytes(b"\xee" * 32 + DATA)
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def config(file: int) -> Config:
    return Config(file, 32, 4096, "PCI device x", writable=True)


def test_registers_of_each_width(config: Config) -> None:
    assert config.read16(0) == 0x8086
    assert config.read16(2) == 0x10D3
    assert config.read32(0) == 0x10D38086
    assert config.read8(0x0B) == 2
    assert config.read32(0xFFC) == 0
    assert config.read(0x10, 8) == DATA[0x10:0x18]
    assert config.read(0, 4096) == DATA


def test_writes_change_their_octets_only(config: Config, file: int) -> None:
    config.write8(5, 0xA5)
    config.write16(0x3C, 0xBEEF)
    config.write32(0xFFC, 0x12345678)
    expected = bytearray(DATA)
    expected[5] = 0xA5
    expected[0x3C:0x3E] = b"\xef\xbe"
    expected[0xFFC:] = bytes.fromhex("78563412")
    assert os.pread(file, 5000, 0) == b"\xee" * 32 + expected


def test_values_of_bars(config: Config, tmp_path: Path) -> None:
    assert config.bar_value(0) == 0xFEB20000
    assert config.bar_value(2) == 0xC0C0  # ports
    path = tmp_path / "virtio"
    wide = bytearray(space(VIRTIO_NET))
    wide[0x24:0x28] = b"\x10\0\0\0"
    path.write_bytes(wide)
    with path.open("rb") as stream:
        other = Config(stream.fileno(), 0, 256, "x", writable=False)
        assert other.bar_value(4) == 0x10_FEBF_C000


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda c: c.read32(2), "4 octets at offset 0x2 are unaligned"),
        (lambda c: c.read16(1), "2 octets at offset 0x1 are unaligned"),
        (lambda c: c.read32(4096), "past its end at 0x1000"),
        (lambda c: c.read32(-4), "past its end"),
        (lambda c: c.read8(4096), "past its end"),
        (lambda c: c.read(4000, 97), "97 octets at offset 0xfa0 are past"),
        (lambda c: c.read(-1, 1), "past its end"),
        (lambda c: c.write16(3, 0), "unaligned"),
        (lambda c: c.write32(4096, 0), "past its end"),
        (lambda c: c.write8(0, 256), "0x100 is no value of 8 bits"),
        (lambda c: c.write32(0, -1), "is no value of 32 bits"),
    ],
)
def test_accesses_that_cannot_be(
    config: Config, file: int, call: Callable[[Config], object], cause: str
) -> None:
    with pytest.raises(RegisterError) as caught:
        call(config)
    assert cause in str(caught.value)
    assert "PCI device x" in str(caught.value)
    assert os.pread(file, 4096, 32) == DATA


def test_read_only(file: int) -> None:
    config = Config(file, 32, 4096, "PCI device x", writable=False)
    with pytest.raises(ReadOnlyError, match="open for reading only"):
        config.write16(4, 7)
    assert config.read16(4) == 0x0507


def test_the_unprivileged_see_the_header_only(tmp_path: Path) -> None:
    """The kernel then reads no further than 64 octets (pci_read_config)."""
    path = tmp_path / "config"
    path.write_bytes(DATA[:64])
    with path.open("rb") as stream:
        config = Config(stream.fileno(), 0, 256, "x", writable=False)
        assert config.read16(0x3C) == 0x010B
        for call in (config.read16, config.read32, config.read8):
            with pytest.raises(DeniedError, match="does not show offset 0x40"):
                call(0x40)
        with pytest.raises(DeniedError, match="CAP_SYS_ADMIN"):
            config.capabilities()


def test_a_device_that_has_gone(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errno of a removed device's sysfs file and of vfio (a fake read)."""

    def gone(*_: object) -> bytes:
        raise OSError(19, "No such device")

    monkeypatch.setattr("rumphyper.pci.config.pread", gone)
    monkeypatch.setattr("rumphyper.pci.config.pwrite", gone)
    for call in (config.read8, config.read16, config.read32):
        with pytest.raises(DeviceGoneError, match="PCI device x"):
            call(0)
    with pytest.raises(DeviceGoneError):
        config.write16(4, 0)


def test_closed(config: Config) -> None:
    config.close()
    config.close()
    for call in (config.read8, config.read16, config.read32):
        with pytest.raises(DeviceClosedError):
            call(0)
    with pytest.raises(DeviceClosedError):
        config.write8(0, 0)
    assert issubclass(DeviceClosedError, PciError)
