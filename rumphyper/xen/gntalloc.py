"""Pages granted to another domain, by /dev/xen/gntalloc.

Facts: Linux drivers/xen/gntalloc.c. A page that the other domain still maps when
it is freed is kept by the kernel until it lets go of it.
"""

from __future__ import annotations

import array

from rumphyper.xen import abi
from rumphyper.xen.nodes import GNTALLOC
from rumphyper.xen.pages import Pages

REMEDY = "raise /sys/module/xen_gntalloc/parameters/limit, or ask for fewer pages"


class Grants(Pages):
    """Pages of ours that ``domain`` may map or copy: ``memory``, by ``refs``.

    ``writable`` says whether it may write to them. Closing revokes the grants.
    Raises HostError (ENOSPC: the module's limit).
    """

    _undo = abi.GNTALLOC_DEALLOC

    def __init__(
        self, domain: int, count: int, *, writable: bool, node: str = GNTALLOC
    ) -> None:
        flags = abi.WRITABLE if writable else 0
        argument = bytearray(max(24, abi.ALLOC.size + 4 * count))
        abi.ALLOC.pack_into(argument, 0, domain, flags, count, 0)
        thing = f"{count} pages for domain {domain}"
        super().__init__(node, abi.GNTALLOC_ALLOC, argument, count, thing, REMEDY)
        refs = argument[abi.ALLOC.size : abi.ALLOC.size + 4 * count]
        self.refs: list[int] = array.array("I", bytes(refs)).tolist()
        """The grant reference of each page."""

    def _read(self, argument: bytearray) -> int:
        return int(abi.ALLOC.unpack_from(argument)[3])
