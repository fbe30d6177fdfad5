"""Pages that a node of Xen's has mapped: what both kinds of grants share."""

from __future__ import annotations

import contextlib
import mmap
import os

from typing_extensions import Self

from rumphyper.errors import HostError
from rumphyper.host.ioctl import ioctl
from rumphyper.host.libc import from_oserror
from rumphyper.xen import abi
from rumphyper.xen.nodes import open_node


class Pages:
    """``count`` pages, made by the ioctl ``make`` on ``node``: ``memory``.

    A subclass says how `_undo` gives them back. ``argument`` holds what the kernel
    answered, with the offset to map at ``index``. Raises HostError.
    """

    _undo: int

    def __init__(
        self,
        node: str,
        make: int,
        argument: bytearray,
        count: int,
        thing: str,
        remedy: str,
        *,
        writable: bool = True,
    ) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._count = count
        self._fd = open_node(node)
        try:
            ioctl(self._fd, make, argument, thing, remedy)
            self._index = self._read(argument)
            self.memory = mmap.mmap(
                self._fd,
                count * abi.PAGE,
                mmap.MAP_SHARED,
                protection,
                offset=self._index,
            )
            """The pages, one after the other."""
        except OSError as error:
            os.close(self._fd)
            raise from_oserror(error, thing, remedy) from None
        except HostError:
            os.close(self._fd)
            raise

    def _read(self, argument: bytearray) -> int:
        """Where in the node the pages are, of the ioctl's answer."""
        raise NotImplementedError

    def notify_unmap(self, place: int, port: int | None = None) -> None:
        """Have the kernel tell the peer when this process unmaps, or dies.

        It clears the octet at ``place``, and fires ``port`` when there is one.
        """
        action = abi.CLEAR_BYTE | (0 if port is None else abi.SEND_EVENT)
        argument = abi.NOTIFY_UNMAP.pack(self._index + place, action, port or 0)
        ioctl(self._fd, abi.UNMAP_NOTIFY, bytearray(argument), "unmap notification")

    def close(self) -> None:
        """Give the pages back. Idempotent.

        Views of the memory that somebody still holds keep it mapped, and granted.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with contextlib.suppress(BufferError):
            self.memory.close()
        with contextlib.suppress(HostError):
            argument = bytearray(abi.DEALLOC.pack(self._index, self._count))
            ioctl(fd, self._undo, argument)
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
