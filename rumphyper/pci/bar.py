"""Registers behind a base address register: mapped memory, or ports by a file.

An access must be exactly one on the bus, of the width meant: a register that is
cleared by reading it loses its value to a second read. Indexing a memoryview
that was cast to the width does just that (one load or store of the C compiler's);
slices, mmap.read and .write, struct.pack_into, memmove and ctypes do not.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from os import pread, pwrite
from typing import Literal

from rumphyper.pci.errors import (
    DeviceClosedError,
    ReadOnlyError,
    RegisterError,
    explained,
)
from rumphyper.pci.mapping import Mapping
from rumphyper.pci.sysfs import BarKind

Width = Literal[8, 16, 32, 64]
_FORMATS: dict[int, str] = {8: "B", 16: "H", 32: "I", 64: "Q"}


class Bar(ABC):
    """``size`` octets of registers. All values are in the host's byte order.

    `read` and `write` take an offset and a width in bits, check both, and make
    one access. They raise RegisterError for what is unaligned, past the end, or
    no value of that width, DeviceClosedError after `close`.
    """

    def __init__(self, thing: str, index: int, size: int, kind: BarKind) -> None:
        self.thing = thing
        self.index = index
        self.size = size
        self.kind = kind

    @abstractmethod
    def view(self, width: Width = 32) -> memoryview:
        """The registers as numbers of ``width`` bits: ``view[offset // octets]``.

        Reading or writing one element is one access of that width, as quick as
        Python can be. Never take a slice to read or write several, and never a
        negative index. Raises RegisterError where the BAR cannot be mapped.
        """

    @property
    @abstractmethod
    def address(self) -> int:
        """Where in this process the registers are, for C code.

        After `close` it finds zeros there: threads in C cannot be told.
        """

    @abstractmethod
    def read(self, offset: int, width: Width = 32) -> int:
        """Read one register."""

    @abstractmethod
    def write(self, offset: int, value: int, width: Width = 32) -> None:
        """Write one register."""

    @abstractmethod
    def close(self) -> None:
        """Take the registers away from every view. Idempotent."""

    def _checked(self, offset: int, width: int, widest: int = 64) -> int:
        """The octets of an access that is allowed."""
        if width not in _FORMATS or width > widest:
            widths = ", ".join(str(each) for each in _FORMATS if each <= widest)
            cause = f"{width} is no width in bits that it has"
            raise RegisterError(self.thing, cause, f"widths are {widths}")
        octets = width // 8
        if not 0 <= offset <= self.size - octets:
            cause = f"{octets} octets at offset {offset:#x} are past its end"
            remedy = f"it has {self.size:#x} octets"
            raise RegisterError(self.thing, cause, remedy)
        if offset % octets:
            cause = f"{octets} octets at offset {offset:#x} are unaligned"
            raise RegisterError(self.thing, cause, f"align to {octets} octets")
        return octets

    def _value(self, value: int, width: int) -> RegisterError:
        return RegisterError(self.thing, f"{value:#x} is no value of {width} bits")


class MappedBar(Bar):
    """Memory that is mapped into this process: ``mapping`` becomes the BAR's own."""

    def __init__(self, thing: str, index: int, mapping: Mapping) -> None:
        super().__init__(thing, index, len(mapping.view), "memory")
        self._mapping = mapping
        self._views = {
            width: mapping.view.cast(letter)  # type: ignore[call-overload]
            for width, letter in _FORMATS.items()
        }

    def view(self, width: Width = 32) -> memoryview:
        self._checked(0, width)
        view: memoryview | None = self._views.get(width)
        if view is None:
            raise self._closed()
        return view

    @property
    def address(self) -> int:
        if not self._views:
            raise self._closed()
        return self._mapping.lend()

    def read(self, offset: int, width: Width = 32) -> int:
        octets = self._checked(offset, width)
        value: int = self.view(width)[offset // octets]
        return value

    def write(self, offset: int, value: int, width: Width = 32) -> None:
        octets = self._checked(offset, width)
        view = self.view(width)
        if view.readonly:
            remedy = "open the device with writable=True"
            raise ReadOnlyError(self.thing, "open for reading only", remedy)
        if not 0 <= value < 1 << width:
            raise self._value(value, width)
        view[offset // octets] = value

    def close(self) -> None:
        views, self._views = self._views, {}
        if not views:
            return
        for view in views.values():
            view.release()
        self._mapping.close()

    def _closed(self) -> DeviceClosedError:
        return DeviceClosedError(self.thing, "the device is closed")


class FileBar(Bar):
    """Registers that pread(2) and pwrite(2) reach at ``base`` of ``fd``.

    For I/O ports, and for memory that may not be mapped. The kernel makes one
    access of 1, 2 or 4 octets (vfio_pci_bar_rw, pci_read_resource_io); wider
    ones would be two. The descriptor stays its owner's.
    """

    def __init__(
        self, thing: str, index: int, kind: BarKind, fd: int, size: int, base: int
    ) -> None:
        super().__init__(thing, index, size, kind)
        self._fd = fd
        self._base = base

    def view(self, width: Width = 32) -> memoryview:
        raise self._unmapped()

    @property
    def address(self) -> int:
        raise self._unmapped()

    def read(self, offset: int, width: Width = 32) -> int:
        octets = self._checked(offset, width, 32)
        try:
            data = pread(self._fd, octets, self._base + offset)
            value: int = struct.unpack("=" + _FORMATS[width], data)[0]
        except (OSError, struct.error) as error:
            raise self._failed(error) from None
        return value

    def write(self, offset: int, value: int, width: Width = 32) -> None:
        octets = self._checked(offset, width, 32)
        try:
            data = struct.pack("=" + _FORMATS[width], value)
        except struct.error:
            raise self._value(value, width) from None
        try:
            done = pwrite(self._fd, data, self._base + offset)
        except OSError as error:
            raise self._failed(error) from None
        if done != octets:
            raise self._failed(struct.error())

    def close(self) -> None:
        self._fd = -1

    def _unmapped(self) -> RegisterError:
        what = "I/O ports" if self.kind == "io" else "this memory"
        return RegisterError(self.thing, f"{what} cannot be mapped", "use read, write")

    def _failed(self, error: Exception) -> Exception:
        if self._fd < 0:
            return DeviceClosedError(self.thing, "the device is closed")
        if isinstance(error, OSError):
            return explained(error, self.thing)
        return RegisterError(self.thing, "the kernel made no whole access")


def mapped(
    thing: str, index: int, fd: int, size: int, offset: int, *, writable: bool = True
) -> MappedBar:
    """Map ``size`` octets at ``offset`` of a descriptor. Raises PciError."""
    mapping = Mapping(thing, fd, size, offset, writable=writable)
    return MappedBar(thing, index, mapping)
