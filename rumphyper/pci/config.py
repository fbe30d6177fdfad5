"""Configuration space through a descriptor: sysfs's ``config`` file or vfio's region.

An aligned access of 1, 2 or 4 octets is one access of that width to the device
(the kernel's pci_read_config and vfio_config_do_rw). Values are in the order of
the host; the space itself is little-endian.
"""

from __future__ import annotations

import struct
from os import pread, pwrite

from rumphyper.pci import regs
from rumphyper.pci.capabilities import capabilities
from rumphyper.pci.capability import Capability
from rumphyper.pci.errors import (
    DeniedError,
    DeviceClosedError,
    ReadOnlyError,
    RegisterError,
    explained,
)

_unpack16 = struct.Struct("<H").unpack
_unpack32 = struct.Struct("<I").unpack
_WIDTHS = (1, 2, 4)


class Config:
    """``size`` octets of configuration space at ``base`` of the descriptor ``fd``.

    The descriptor stays its owner's. Reads and writes of 8, 16 and 32 bits take
    the offset of a register. They raise RegisterError for one that is unaligned
    or past the end, DeviceGoneError when the device has vanished, DeniedError
    for what the kernel shows only to the privileged, ReadOnlyError for a write
    when not ``writable``, and DeviceClosedError after `close`.
    """

    def __init__(
        self, fd: int, base: int, size: int, thing: str, *, writable: bool
    ) -> None:
        self.size = size
        self.writable = writable
        self._fd = fd
        self._base = base
        self._thing = f"{thing}: configuration space"
        # Where the register of each valid offset is in the file. One look-up
        # does for bounds, alignment and sum, so that a read costs little more
        # than pread(2); an empty table is a closed space.
        self._words = {offset: base + offset for offset in range(0, size, 4)}
        self._halves = {offset: base + offset for offset in range(0, size, 2)}

    def read32(self, offset: int) -> int:
        """Read the 32-bit register at an offset."""
        try:
            value: int = _unpack32(pread(self._fd, 4, self._words[offset]))[0]
        except (KeyError, struct.error, OSError) as error:
            raise self._failed(error, offset, 4) from None
        return value

    def read16(self, offset: int) -> int:
        """Read the 16-bit register at an offset."""
        try:
            value: int = _unpack16(pread(self._fd, 2, self._halves[offset]))[0]
        except (KeyError, struct.error, OSError) as error:
            raise self._failed(error, offset, 2) from None
        return value

    def read8(self, offset: int) -> int:
        """Read the 8-bit register at an offset."""
        return self.read(offset, 1)[0]

    def read(self, offset: int, count: int) -> bytes:
        """Read ``count`` octets; the kernel makes accesses of up to 32 bits."""
        try:
            if 0 <= offset < self.size:
                data = pread(self._fd, count, self._base + offset)
                if len(data) == count:
                    return data
        except OSError as error:
            raise self._failed(error, offset, count) from None
        raise self._failed(None, offset, count)

    def write32(self, offset: int, value: int) -> None:
        """Write the 32-bit register at an offset."""
        self._write(offset, value, 4)

    def write16(self, offset: int, value: int) -> None:
        """Write the 16-bit register at an offset."""
        self._write(offset, value, 2)

    def write8(self, offset: int, value: int) -> None:
        """Write the 8-bit register at an offset."""
        self._write(offset, value, 1)

    def capabilities(self) -> list[Capability]:
        """The capabilities, standard ones first, as they are now."""
        return capabilities(self.read(0, self.size))

    def bar_value(self, index: int) -> int:
        """The bus address in a BAR's register (both registers of a 64-bit one)."""
        offset = regs.BAR0 + 4 * index
        low = self.read32(offset)
        if low & regs.BAR_IO:
            return low & regs.BAR_IO_MASK
        wide = low & regs.BAR_TYPE == regs.BAR_64
        high = self.read32(offset + 4) if wide else 0
        return high << 32 | low & regs.BAR_MEMORY_MASK

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._fd < 0

    def close(self) -> None:
        """Refuse all further access; the descriptor is its owner's. Idempotent."""
        self._fd = -1
        self._words = {}
        self._halves = {}

    def _write(self, offset: int, value: int, width: int) -> None:
        if offset % width or not 0 <= offset <= self.size - width:
            raise self._outside(offset, width)
        if not self.writable:
            remedy = "open the device with writable=True"
            raise ReadOnlyError(self._thing, "open for reading only", remedy)
        try:
            octets = value.to_bytes(width, "little")
        except OverflowError:
            cause = f"{value:#x} is no value of {8 * width} bits"
            raise RegisterError(self._thing, cause) from None
        try:
            pwrite(self._fd, octets, self._base + offset)
        except OSError as error:
            raise self._failed(error, offset, width) from None

    def _failed(self, error: Exception | None, offset: int, width: int) -> Exception:
        """What went wrong with an access; first of all, whether it could be."""
        if self._fd < 0:
            return DeviceClosedError(self._thing, "the device is closed")
        inside = width >= 0 and 0 <= offset <= self.size - width
        if isinstance(error, KeyError) or not inside:
            return self._outside(offset, width)
        if isinstance(error, OSError):
            return explained(error, self._thing)
        cause = f"the kernel does not show offset {offset:#x}"
        return DeniedError(self._thing, cause, "run as root (CAP_SYS_ADMIN)")

    def _outside(self, offset: int, width: int) -> RegisterError:
        aligned = width not in _WIDTHS or offset % width == 0
        end = f"past its end at {self.size:#x}" if aligned else "unaligned"
        cause = f"{width} octets at offset {offset:#x} are {end}"
        return RegisterError(self._thing, cause, "take a register's own offset")
