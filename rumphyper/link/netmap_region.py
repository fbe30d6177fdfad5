"""netmap's memory regions, each mapped once however many ports use it.

A mapping keeps the descriptor that it was made with from being released, and
with it that descriptor's port. So a region is mapped by a descriptor of its own,
which is registered in the mode NULL: with the region and with no port. A port
then is free as soon as it is closed, also while others of its region are open.
Facts: netmap netmap_null.c, netmap_mmap in LINUX/netmap_linux.c, netmap_mem2.c.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading

from rumphyper.errors import HostError, LinkError
from rumphyper.host.libc import from_oserror
from rumphyper.link.netmap_abi import REGISTER, Mode, Request
from rumphyper.link.netmap_request import control, open_device


class Region:
    """One memory region; `acquire` and `release` count its users."""

    def __init__(
        self, number: int, memory: mmap.mmap, ours: bool, buffers: int | None
    ) -> None:
        self.number = number
        """The id by which the kernel knows it."""

        self.memory = memory
        self.buffers = buffers
        """How many there are, where it is not as many as the memory has room for."""

        self._ours = ours
        self.users = 0

    def unmap(self) -> None:
        """Unmap it, now or when the last view that somebody holds is gone."""
        if self._ours:
            with contextlib.suppress(BufferError):
                self.memory.close()


_regions: dict[int, Region] = {}
_lock = threading.Lock()


def acquire(
    number: int,
    size: int,
    port: int,
    thing: str,
    given: mmap.mmap | None = None,
    buffers: int | None = None,
) -> Region:
    """The region of that id, mapped; to be released by each who acquired it.

    ``size`` is its octets, ``port`` the descriptor of a port that uses it, by
    which it is mapped where the module knows no mode NULL. ``given`` is the
    caller's own memory, where the region is made of that, with so many
    ``buffers`` in it. Raises HostError.
    """
    with _lock:
        region = _regions.get(number)
        if region is not None and given not in (None, region.memory):
            raise LinkError(
                thing,
                f"memory region {number} is made of other memory than was given",
                "give the memory only when the first port of the region is opened",
            )
        if region is None:
            memory = _map(number, size, port, thing) if given is None else given
            region = _regions[number] = Region(number, memory, given is None, buffers)
        region.users += 1
        return region


def release(region: Region) -> None:
    """Give up one use; the last one unmaps the region."""
    with _lock:
        region.users -= 1
        if not region.users:
            del _regions[region.number]
            region.unmap()


def _map(number: int, size: int, port: int, thing: str) -> mmap.mmap:
    fd = open_device(thing)
    try:
        body = bytearray(REGISTER.size)
        fields = [0] * 13
        fields[8], fields[10] = number, Mode.NULL
        REGISTER.pack_into(body, 0, *fields)
        try:
            control(fd, Request.REGISTER, "region", body, thing=thing)
        except HostError:
            return _mapped(port, size, thing)
        return _mapped(fd, size, thing)
    finally:
        os.close(fd)  # the mapping has a descriptor of its own


def _mapped(fd: int, size: int, thing: str) -> mmap.mmap:
    try:
        return mmap.mmap(fd, size, mmap.MAP_SHARED)
    except (OSError, OverflowError, ValueError) as error:
        cause = error if isinstance(error, OSError) else OSError(0, str(error))
        remedy = "raise ulimit -v, or ask for fewer buffers"
        raise from_oserror(cause, f"{thing}: {size} octets", remedy) from None
