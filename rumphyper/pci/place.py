"""Registers as a command line names them: ``config:0x04``, ``bar0:0xc0``."""

from __future__ import annotations

import re

import attrs
from typing_extensions import Self

from rumphyper.pci.bar import Width
from rumphyper.pci.device import Device
from rumphyper.pci.errors import RegisterError

_TEXT = re.compile(r"(config|bar([0-5]))(?::(0x[0-9a-f]+|[0-9]+))?", re.IGNORECASE)


@attrs.frozen
class Place:
    """An ``offset`` in octets in configuration space (``bar`` None) or in a BAR."""

    bar: int | None
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``config``, ``config:0x3c``, ``bar0:16``. Raises RegisterError."""
        found = _TEXT.fullmatch(text)
        if found is None:
            remedy = "write config:OFFSET or barN:OFFSET, such as bar0:0xc0"
            raise RegisterError(f"register {text!r}", "it does not parse", remedy)
        _, bar, offset = found.groups()
        return cls(None if bar is None else int(bar), int(offset or "0", 0))

    def __str__(self) -> str:
        return f"{self._name()}:{self.offset:#x}"

    def read(self, device: Device, width: Width) -> int:
        """Read the register, of ``width`` bits, by one access."""
        if self.bar is not None:
            return device.bar(self.bar).read(self.offset, width)
        config = device.config
        if width == 8:
            return config.read8(self.offset)
        if width == 16:
            return config.read16(self.offset)
        if width == 32:
            return config.read32(self.offset)
        raise _too_wide()

    def write(self, device: Device, value: int, width: Width) -> None:
        """Write the register, of ``width`` bits, by one access."""
        if self.bar is not None:
            device.bar(self.bar).write(self.offset, value, width)
        elif width == 8:
            device.config.write8(self.offset, value)
        elif width == 16:
            device.config.write16(self.offset, value)
        elif width == 32:
            device.config.write32(self.offset, value)
        else:
            raise _too_wide()

    def dump(self, device: Device, count: int | None, width: Width = 32) -> bytes:
        """``count`` octets from here on (None: to the end), as they lie there.

        Of a BAR each register is read once, with the width given.
        """
        size = device.config.size if self.bar is None else device.bar(self.bar).size
        count = size - self.offset if count is None else count
        if count < 0 or self.offset + count > size:
            cause = f"{count} octets from {self} on are past the end at {size:#x}"
            raise RegisterError(device.thing, cause, "ask for fewer")
        if self.bar is None:
            return device.config.read(self.offset, count)
        octets = width // 8
        places = range(self.offset, self.offset + count, octets)
        bar = device.bar(self.bar)
        values = (bar.read(place, width) for place in places)
        return b"".join(value.to_bytes(octets, "little") for value in values)[:count]

    def _name(self) -> str:
        return "config" if self.bar is None else f"bar{self.bar}"


def _too_wide() -> RegisterError:
    cause = "64 bits are no width of its registers"
    return RegisterError("configuration space", cause, "widths are 8, 16, 32")


def hex_dump(data: bytes, start: int) -> list[str]:
    """Lines of 16 octets with their offsets, as lspci(8) prints them."""
    first = start - start % 16 if data else start
    lines = []
    for row in range(first, start + len(data), 16):
        cells = [
            f"{data[place - start]:02x}" if 0 <= place - start < len(data) else "  "
            for place in range(row, row + 16)
        ]
        lines.append(f"{row:02x}: {' '.join(cells)}".rstrip())
    return lines
