"""One registration of a netmap port: its descriptor, region and rings.

Facts: netmap sys/net/netmap.h (NETMAP_REQ_REGISTER).
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys

import attrs

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host.libc import address
from rumphyper.host.netif import Netif
from rumphyper.link import netmap_region
from rumphyper.link.netmap_abi import (
    OPT_CSB,
    OPT_EXTMEM,
    OPTION,
    POOLS_INFO,
    PORT_HEADER,
    REGISTER,
    Option,
    RegisterFlag,
    Request,
)
from rumphyper.link.netmap_csb import Csb
from rumphyper.link.netmap_legacy import register
from rumphyper.link.netmap_name import PortName
from rumphyper.link.netmap_request import (
    NO_SUCH_CALL,
    control,
    open_device,
    register_error,
)
from rumphyper.ring.netmap_if import NetmapIf

EXTMEM_SIZE = struct.Struct("=Q56x")
"""Pools of which only the memory's size is given, the rest is the kernel's choice."""


@attrs.frozen
class Wanted:
    """What a port shall be like; 0 leaves a number to the kernel."""

    slots: int = 0
    rings: int = 0
    extra_buffers: int = 0
    vnet_header: int = 0
    """Octets of the virtio-net header in front of each frame: 0, 10 or 12."""

    memory: mmap.mmap | None = None
    """A mapping of the caller's that the region shall be made of."""

    csb: bool = False


@attrs.frozen
class Registered:
    """What the kernel says of a registration."""

    offset: int
    memory_size: int
    memory_id: int
    extra_buffers: int
    buffers: int | None = None
    """How many a region of the caller's memory has."""


class Port:
    """A port that is registered and mapped. ``rings`` are in `face`.

    Raises HostError (no module, no such interface, busy, down, no memory),
    CorruptError, UnsupportedError. Nothing is left behind by a failure.
    """

    def __init__(self, linkstr: str, name: PortName, wanted: Wanted) -> None:
        self.linkstr = linkstr
        self.name = name
        self.csb: Csb | None = None
        self.fd = open_device(linkstr)
        self._region: netmap_region.Region | None = None
        self._face: NetmapIf | None = None
        try:
            self._check_up()
            self.registered = said = self._register(wanted)
            self._region = netmap_region.acquire(
                said.memory_id,
                said.memory_size,
                self.fd,
                linkstr,
                wanted.memory,
                said.buffers,
            )
            entries = None if self.csb is None else self.csb.entries()
            self._face = NetmapIf(
                self.memory,
                said.offset,
                linkstr,
                buffers=self.region.buffers,
                csb=entries,
                vale=name.vale,
            )
            if wanted.vnet_header:
                self._set_vnet_header(wanted.vnet_header)
        except BaseException:
            self.close()
            raise

    @property
    def face(self) -> NetmapIf:
        """The rings."""
        assert self._face is not None, "the port is closed"
        return self._face

    @property
    def region(self) -> netmap_region.Region:
        assert self._region is not None, "the port is closed"
        return self._region

    @property
    def memory(self) -> mmap.mmap:
        """The mapping of the region."""
        return self.region.memory

    def _check_up(self) -> None:
        """Raise HostError for an interface that is down: nothing would pass."""
        if self.name.vale or self.name.pipe or sys.platform != "linux":
            return
        interface = self.name.name
        with Netif() as netif:
            if netif.exists(interface) and not netif.is_up(interface):
                cause = f"the interface {interface} is down"
                remedy = f"bring it up: `ip link set {interface} up`"
                raise HostError(self.linkstr, cause, remedy, errno.ENETDOWN)

    # -- registering -------------------------------------------------------------

    def _register(self, wanted: Wanted) -> Registered:
        name = self.name
        flags = int(name.flags)
        if wanted.vnet_header:
            flags |= RegisterFlag.ACCEPT_VNET_HDR
        options: list[bytearray] = []
        if wanted.csb:
            flags |= RegisterFlag.EXCLUSIVE
            self.csb = Csb()
            option = OPTION.pack(0, Option.CSB, 0, 0)
            options.append(bytearray(OPT_CSB.pack(option, *self.csb.addresses())))
        if wanted.memory is not None:
            option = OPTION.pack(0, Option.EXTMEM, 0, 0)
            pools = EXTMEM_SIZE.pack(len(wanted.memory))
            where = address(wanted.memory)
            options.append(bytearray(OPT_EXTMEM.pack(option, where, pools)))
        slots, rings, extra = wanted.slots, wanted.rings, wanted.extra_buffers
        body = bytearray(
            REGISTER.pack(
                0, 0, slots, slots, rings, rings, 0, 0,
                name.memory_id, name.ring, name.mode, extra, flags,
            )
        )  # fmt: skip
        try:
            control(self.fd, Request.REGISTER, name.name, body, options, self.linkstr)
        except HostError as error:
            if error.errno in NO_SUCH_CALL and not options:
                asked = (wanted.slots, wanted.rings, wanted.extra_buffers, flags)
                return Registered(*register(self.fd, name, self.linkstr, *asked))
            if wanted.memory is not None and error.errno == errno.ENOMEM:
                cause = (
                    "the memory cannot be made a region: it is too small, or in pieces"
                )
                remedy = "map 16 MiB and more of huge pages (MAP_HUGETLB), shared"
                raise HostError(self.linkstr, cause, remedy, errno.ENOMEM) from None
            raise register_error(error, self.linkstr, name.vale) from None
        fields = REGISTER.unpack(body)
        buffers = None
        if wanted.memory is not None:
            _, _, found = OPT_EXTMEM.unpack(options[-1])
            buffers = POOLS_INFO.unpack(found)[-2]
        return Registered(fields[0], fields[1], fields[8], fields[11], buffers)

    def _set_vnet_header(self, size: int) -> None:
        """Have the kernel agree on the header's size. UnsupportedError if not."""
        body = bytearray(PORT_HEADER.size)
        name, get = self.name.name, Request.PORT_HDR_GET
        try:
            control(self.fd, get, name, body, (), self.linkstr)
        except HostError as error:
            if error.errno not in NO_SUCH_CALL:
                raise
            cause = "the module is older than API 14 and cannot be asked for headers"
            remedy = "open it without vnet_header"
            raise UnsupportedError(self.linkstr, cause, remedy) from None
        (has,) = PORT_HEADER.unpack(body)
        if has == size:
            return
        if not self.name.vale:
            raise UnsupportedError(
                self.linkstr,
                f"the port has virtio-net headers of {has} octets, not of {size}",
                f"vnet_header={has}" if has else "open it without vnet_header",
            )
        PORT_HEADER.pack_into(body, 0, size)
        control(self.fd, Request.PORT_HDR_SET, name, body, (), self.linkstr)

    # -- the end -------------------------------------------------------------------

    def close(self) -> None:
        """Give the port back: free at once, for views do not hold it. Idempotent."""
        if self.csb is not None:
            self.csb.stop(self.fd)
        if self._face is not None:
            self._face.release_views()
            self._face = None
        if self._region is not None:
            region, self._region = self._region, None
            netmap_region.release(region)
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
        if self.csb is not None:
            self.csb.close()
