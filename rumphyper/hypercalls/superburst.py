"""Bursts of superframes: TCP segments that the host left in one piece.

A TAP with virtio-net headers hands over frames of up to 64 KiB, and leaves the
checksum of what it made itself to hardware that is not there: the header says
where it belongs (net/vnet.py; Linux drivers/net/tun.c). It is filled in before
delivery, so that the kernel sees nothing but right frames,
TCP or UDP, for itself or to be forwarded.

Python would take 120 us for one of 64 KiB. The kernel has a function in C for
it, which wants its data in an mbuf; the few fields of one that it looks at are
laid out here, and it is tried on data whose checksum is known.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

from rumphyper.host.libc import libc
from rumphyper.hypercalls.burst import Burst
from rumphyper.net.checksum import checksum
from rumphyper.net.vnet import HEADER, place

Sum = Callable[[int, int], int]
"""From an address and a number of octets to the checksum, as it is stored."""

CHECKSUM = struct.Struct("=H")
FUNCTION = "rumpns_cpu_in_cksum"


def python_sum(address: int, size: int) -> int:
    """The checksum in Python, for kernels without `FUNCTION`."""
    octets = checksum(ctypes.string_at(address, size)).to_bytes(2, "big")
    return int(CHECKSUM.unpack(octets)[0])


class Mbuf(ctypes.Structure):
    """The begin of NetBSD's struct mbuf (sys/sys/mbuf.h).

    Versions before mowner(9) was always there have the length where ``owner``
    is: both get it, for nobody looks at an owner here.
    """

    _fields_ = [
        ("next", ctypes.c_size_t),
        ("nextpkt", ctypes.c_size_t),
        ("data", ctypes.c_size_t),
        ("owner", ctypes.c_size_t),
        ("length", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("rest", ctypes.c_char * 464),
    ]


def kernel_sum(library: ctypes.CDLL | None = None) -> Sum:
    """The checksum by the kernel's own function; by Python where that fails.

    Facts: NetBSD sys/netinet/cpu_in_cksum.c.
    """
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint32
    )
    try:
        function = prototype((FUNCTION, library or libc()))
    except AttributeError:
        return python_sum
    mbuf = Mbuf()
    where = ctypes.byref(mbuf)

    def compute(address: int, size: int) -> int:
        mbuf.data = address
        mbuf.owner = mbuf.length = size
        return int(function(where, size, 0, 0)) & 0xFFFF

    known = ctypes.create_string_buffer(bytes(range(1, 252)) * 5)
    address = ctypes.addressof(known)
    for size in (1, 20, 1001, len(known)):
        if compute(address, size) != python_sum(address, size):
            return python_sum
    return compute


class SuperBurst(Burst):
    """A `Burst` from a descriptor whose frames carry a virtio-net header."""

    frames = 16
    header = HEADER.size
    compute: Sum = staticmethod(python_sum)

    def _fill(self) -> int:
        iovecs, read, memory = self.iovecs, self.read_one, self.memory
        unpack, first = HEADER.unpack_from, self.starts[0]
        octets = number = 0
        for arguments, start in zip(self.reads, self.starts, strict=True):
            count = read(*arguments)
            if count <= 0:
                break
            flags, _, _, _, begin, offset = unpack(memory, start - first)
            size = count - self.header
            at = place(flags, begin, offset, size)
            if at:
                frame = start + self.header
                value = self.compute(frame + begin, size - begin) or 0xFFFF
                CHECKSUM.pack_into(memory, frame + at - first, value)
            octets += size
            iovecs[2 * number + 1] = size
            number += 1
        self.received_bytes += octets
        return number
