"""Pages that another domain has granted: mapped, or copied, by /dev/xen/gntdev.

Facts: Linux drivers/xen/gntdev.c, include/uapi/xen/gntdev.h.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence

from rumphyper.host.ioctl import ioctl
from rumphyper.host.libc import address
from rumphyper.xen import abi
from rumphyper.xen.nodes import GNTDEV, open_node
from rumphyper.xen.pages import Pages

REMEDY = "the other domain must have granted the page to this one"


class MappedGrants(Pages):
    """Pages of ``domain``'s, by its grant references: ``memory``, until `close`.

    Raises HostError when one is not granted.
    """

    _undo = abi.GNTDEV_UNMAP

    def __init__(
        self,
        domain: int,
        refs: Sequence[int],
        *,
        writable: bool = True,
        node: str = GNTDEV,
    ) -> None:
        count = len(refs)
        argument = bytearray(abi.MAP.pack(count, 0))
        argument += b"".join(abi.MAP_REF.pack(domain, ref) for ref in refs)
        thing = f"grants {', '.join(map(str, refs))} of domain {domain}"
        super().__init__(
            node, abi.GNTDEV_MAP, argument, count, thing, REMEDY, writable=writable
        )

    def _read(self, argument: bytearray) -> int:
        return int(abi.MAP.unpack_from(argument)[1])


Piece = tuple[int, int, int, int]
"""Where in our buffer, grant reference, offset in its page, octets."""


class GrantCopier:
    """Copies between a buffer of ours and another domain's pages, many a call.

    Nothing is mapped, so what was read cannot change any more. ``buffer`` is an
    anonymous mapping, ``domain`` whose pages they are.
    """

    def __init__(self, domain: int, buffer: mmap.mmap, node: str = GNTDEV) -> None:
        self.domain = domain
        self.buffer = buffer
        self._address = address(buffer)
        self._fd = open_node(node)

    def read(self, pieces: Sequence[Piece]) -> list[int]:
        """Copy from the other domain; a status (0 or GNTST_*) for each piece."""
        segments = bytearray().join(
            abi.COPY_FROM.pack(
                ref, offset, self.domain, self._address + at, size,
                abi.SOURCE_IS_GRANT, 0,
            )
            for at, ref, offset, size in pieces
        )  # fmt: skip
        return self._copy(segments, len(pieces))

    def write(self, pieces: Sequence[Piece]) -> list[int]:
        """Copy to the other domain; a status (0 or GNTST_*) for each piece."""
        segments = bytearray().join(
            abi.COPY_TO.pack(
                self._address + at, ref, offset, self.domain, size,
                abi.TARGET_IS_GRANT, 0,
            )
            for at, ref, offset, size in pieces
        )  # fmt: skip
        return self._copy(segments, len(pieces))

    def _copy(self, segments: bytearray, count: int) -> list[int]:
        if not count:
            return []
        argument = bytearray(abi.COPY.pack(count, address(segments)))
        thing = f"{count} pieces of grants of domain {self.domain}"
        ioctl(self._fd, abi.GNTDEV_COPY, argument, thing, REMEDY)
        step = abi.COPY_FROM.size
        return [
            struct.unpack_from("=h", segments, at + abi.COPY_STATUS)[0]
            for at in range(0, count * step, step)
        ]

    def close(self) -> None:
        """Close the descriptor; the buffer is the caller's. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
