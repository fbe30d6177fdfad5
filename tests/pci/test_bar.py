"""pci/bar over memory and files; accesses of devices are in tests/vm."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rumphyper.host.libc import address
from rumphyper.pci.bar import Bar, FileBar, Width, mapped
from rumphyper.pci.errors import (
    DeviceClosedError,
    DeviceGoneError,
    PciError,
    ReadOnlyError,
    RegisterError,
)

WIDTHS: tuple[Width, ...] = (8, 16, 32, 64)
SIZE = 4096


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "resource0"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def area(fd: int) -> mmap.mmap:
    """What the BAR should have, by other means."""
    return mmap.mmap(fd, SIZE)


@pytest.fixture
def bar(fd: int) -> Iterator[Bar]:
    bar = mapped("BAR 0", 0, fd, SIZE, 0)
    yield bar
    bar.close()


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[FileBar]:
    path = tmp_path / "resource1"
    path.write_bytes(bytes(range(64)))
    fd = os.open(path, os.O_RDWR)
    yield FileBar("BAR 1", 1, "io", fd, 32, 16)
    os.close(fd)


@pytest.mark.parametrize("width", WIDTHS)
def test_views_and_reads_agree(bar: Bar, area: mmap.mmap, width: Width) -> None:
    octets = width // 8
    view = bar.view(width)
    assert (view.itemsize, len(view)) == (octets, SIZE // octets)
    for offset in (0, 8, 64, SIZE - octets):
        plain = int.from_bytes(area[offset : offset + octets], sys.byteorder)
        assert view[offset // octets] == bar.read(offset, width) == plain
    view[1] = (1 << width) - 2
    assert bar.read(octets, width) == (1 << width) - 2
    bar.write(octets, 3, width)
    assert view[1] == 3
    assert area[2 * octets] == 2 * octets  # the next one is as it was


def test_the_address_is_the_mappings(bar: Bar, area: mmap.mmap) -> None:
    assert ctypes.string_at(bar.address, SIZE) == area[:]
    area[7] = 99
    assert ctypes.string_at(bar.address + 7, 1) == b"c"


BAD: list[tuple[Callable[[Bar], object], str]] = [
    (lambda b: b.read(32), "4 octets at offset 0x20 are past its end"),
    (lambda b: b.read(30, 32), "past its end"),
    (lambda b: b.read(-4), "past its end"),
    (lambda b: b.read(6), "4 octets at offset 0x6 are unaligned"),
    (lambda b: b.read(1, 16), "unaligned"),
    (lambda b: b.write(2, 0, 32), "unaligned"),
    (lambda b: b.write(32, 0, 8), "past its end"),
    (lambda b: b.write(0, 1 << 16, 16), "0x10000 is no value of 16 bits"),
    (lambda b: b.write(0, -1), "is no value of 32 bits"),
    (lambda b: b.read(0, 24), "24 is no width"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "cause"), BAD)
def test_accesses_that_cannot_be(
    ports: FileBar, fd: int, call: Callable[[Bar], object], cause: str
) -> None:
    small = mapped("BAR 0", 0, fd, 32, 0)
    for bar in (small, ports):
        with pytest.raises(RegisterError) as caught:
            call(bar)
        assert cause in str(caught.value)
        assert bar.thing in str(caught.value)
    assert bytes(small.view(8)) == bytes(range(32))
    assert ports.read(0, 8) == 16
    small.close()


def test_closing_takes_every_view_away(bar: Bar) -> None:
    views = [bar.view(width) for width in WIDTHS]
    bar.close()
    bar.close()
    for view in views:
        with pytest.raises(ValueError, match="released"):
            view[0]
    for call in (bar.view, lambda: bar.read(0), lambda: bar.write(0, 0)):
        with pytest.raises(DeviceClosedError):
            call()
    with pytest.raises(DeviceClosedError):
        _ = bar.address


def mapping_at(address: int) -> str:
    """The line of /proc/self/maps for an address, or nothing."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        for line in maps:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if low <= address < high:
                return line
    return ""


def test_a_slice_that_is_held_has_zeros(fd: int, area: mmap.mmap) -> None:
    """The device's file is let go at once, the place with the last slice."""
    bar = mapped("BAR 0", 0, fd, SIZE, 0)
    part = bar.view(8)[4:8]
    place = address(part)
    assert "resource0" in mapping_at(place)
    bar.close()
    assert bytes(part) == bytes(4)
    part[0] = 9
    assert area[4] == 4
    assert "resource0" not in mapping_at(place)
    del part
    gc.collect()
    assert not mapping_at(place)


def test_c_code_finds_zeros_after_the_end(fd: int, area: mmap.mmap) -> None:
    """It cannot be told that the registers are gone."""
    bar = mapped("BAR 0", 0, fd, SIZE, 0)
    place = bar.address
    bar.close()
    gc.collect()
    assert ctypes.string_at(place, SIZE) == bytes(SIZE)
    ctypes.memset(place, 1, SIZE)
    assert area[:4] == b"\0\1\2\3"
    assert "resource0" not in mapping_at(place)


def test_read_only_mapping(tmp_path: Path) -> None:
    path = tmp_path / "resource0"
    path.write_bytes(bytes(range(64)))
    with path.open("rb") as stream:
        bar = mapped("BAR 0", 0, stream.fileno(), 64, 0, writable=False)
    assert bar.read(4) == int.from_bytes(b"\4\5\6\7", sys.byteorder)
    with pytest.raises(ReadOnlyError, match="writable=True"):
        bar.write(4, 0)
    bar.close()


def test_a_mapping_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PciError, match="BAR 0"):
        mapped("BAR 0", 0, -7, 64, 0)
    path = tmp_path / "short"
    path.write_bytes(b"1234")
    with path.open("rb+") as stream, pytest.raises(PciError, match="BAR 0"):
        mapped("BAR 0", 0, stream.fileno(), 4096, 0)


def test_mappings_leave_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "resource0"
    path.write_bytes(bytes(4096))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with path.open("rb+") as stream:
            bar = mapped("BAR 0", 0, stream.fileno(), 4096, 0)
        bar.view(32)[1] = 7
        bar.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert path.read_bytes()[4] == 7


def test_ports_through_a_file(ports: FileBar, tmp_path: Path) -> None:
    assert ports.read(0, 8) == 16
    assert ports.read(2, 16) == int.from_bytes(b"\x12\x13", sys.byteorder)
    assert ports.read(28, 32) == int.from_bytes(bytes(range(44, 48)), sys.byteorder)
    ports.write(4, 0xABCD, 16)
    octets = (tmp_path / "resource1").read_bytes()
    assert octets[20:22] == (0xABCD).to_bytes(2, sys.byteorder)
    assert octets[:20] + octets[22:] == bytes([*range(20), *range(22, 64)])


def test_ports_have_no_views_and_no_64_bits(ports: FileBar) -> None:
    with pytest.raises(RegisterError, match="I/O ports cannot be mapped"):
        ports.view()
    with pytest.raises(RegisterError, match="cannot be mapped"):
        _ = ports.address
    with pytest.raises(RegisterError, match="widths are 8, 16, 32"):
        ports.read(0, 64)


def test_ports_that_are_closed_or_gone(
    ports: FileBar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> bytes:
        raise OSError(19, "No such device")

    with monkeypatch.context() as patch:
        patch.setattr("rumphyper.pci.bar.pread", gone)
        with pytest.raises(DeviceGoneError):
            ports.read(0)
        patch.setattr("rumphyper.pci.bar.pread", lambda *_: b"1")
        with pytest.raises(RegisterError, match="no whole access"):
            ports.read(0)
    ports.close()
    for call in (lambda: ports.read(0), lambda: ports.write(0, 0)):
        with pytest.raises(DeviceClosedError):
            call()
