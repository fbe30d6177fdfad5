"""Pages granted to another domain, by /dev/xen/gntalloc.

Facts: Linux drivers/xen/gntalloc.c. A page that the other domain still maps when
it is freed is kept by the kernel until it lets go of it.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.host.libc import from_oserror
from rumphyper.xen import abi
from rumphyper.xen.nodes import GNTALLOC, open_node

REMEDY = "raise /sys/module/xen_gntalloc/parameters/limit, or ask for fewer pages"


class Grants:
    """Pages of ours that ``domain`` may map or copy: ``memory``, by ``refs``.

    ``writable`` says whether it may write to them. Raises HostError (ENOSPC:
    the module's limit).
    """

    def __init__(
        self, domain: int, count: int, *, writable: bool, node: str = GNTALLOC
    ) -> None:
        thing = f"{count} pages for domain {domain}"
        flags = abi.WRITABLE if writable else 0
        argument = bytearray(max(24, abi.ALLOC.size + 4 * count))
        abi.ALLOC.pack_into(argument, 0, domain, flags, count, 0)
        self._fd = open_node(node)
        try:
            ioctl(self._fd, abi.GNTALLOC_ALLOC, argument, thing, REMEDY)
            self._index = abi.ALLOC.unpack_from(argument)[3]
            refs = argument[abi.ALLOC.size : abi.ALLOC.size + 4 * count]
            self.refs: list[int] = array.array("I", bytes(refs)).tolist()
            """The grant reference of each page."""
            self.memory = mmap.mmap(
                self._fd, count * abi.PAGE, mmap.MAP_SHARED, offset=self._index
            )
            """The pages, one after the other."""
        except OSError as error:
            os.close(self._fd)
            raise from_oserror(error, thing, REMEDY) from None
        except HostError:
            os.close(self._fd)
            raise

    def notify_unmap(self, place: int, port: int | None = None) -> None:
        """Have the kernel tell the peer when this process lets go of the memory.

        It clears the octet at ``place``, and fires ``port`` when there is one.
        """
        action = abi.CLEAR_BYTE | (0 if port is None else abi.SEND_EVENT)
        argument = abi.NOTIFY_UNMAP.pack(self._index + place, action, port or 0)
        ioctl(self._fd, abi.UNMAP_NOTIFY, bytearray(argument), "unmap notification")

    def close(self) -> None:
        """Revoke the grants and free the pages. Idempotent.

        Views of the memory that somebody still holds keep it mapped, and granted.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(BufferError):
            self.memory.close()
        with contextlib.suppress(HostError):
            argument = bytearray(abi.DEALLOC.pack(self._index, len(self.refs)))
            ioctl(fd, abi.GNTALLOC_DEALLOC, argument)
        os.close(fd)

    def __enter__(self) -> Grants:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
