"""Raw frames of an interface, by NetBSD's bpf(4).

Source: NetBSD sys/net/bpf.h (requests, struct bpf_hdr, bpf_insn, bpf_program).
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from typing_extensions import Self

from rumphyper.errors import KernelError
from rumphyper.kernel import ioctls
from rumphyper.kernel.interrupt import SLICE

if TYPE_CHECKING:
    from rumphyper.kernel.netbsd import Kernel

DEVICE = b"/dev/bpf"
O_RDWR, O_NONBLOCK = 0x2, 0x4
"""NetBSD sys/sys/fcntl.h."""

POLLIN = 0x1
ROOM = 16384

INSTRUCTION = struct.Struct("=HBBI")
BIOCSBLEN = ioctls.iowr("B", 102, 4)
BIOCSETF = ioctls.iow("B", 103, 2 * ioctls.POINTER)
BIOCSETIF = ioctls.iow("B", 108, ioctls.IFREQ)
BIOCIMMEDIATE = ioctls.iow("B", 112, 4)
BIOCSHDRCMPLT = ioctls.iow("B", 117, 4)
BIOCSSEESENT = ioctls.iow("B", 121, 4)

Instruction = tuple[int, int, int, int]
"""(code, jump if true, jump if false, constant)."""


class Bpf:
    """A bpf descriptor on one interface; sends and receives whole frames.

    ``program`` picks the frames that are received. Raises KernelError: ENOENT
    and the like without the bpf and vfs components.
    """

    def __init__(
        self, kernel: Kernel, interface: str, program: Iterable[Instruction] = ()
    ) -> None:
        self._kernel = kernel
        try:
            self._number = kernel.syscall("open", DEVICE, O_RDWR | O_NONBLOCK, 0)
        except KernelError as error:
            error.thing = DEVICE.decode()
            error.remedy = "boot with the components vfs, dev and bpf"
            raise
        try:
            self._ioctl(BIOCSBLEN, bytearray(struct.pack("=I", ROOM)))
            for request, value in (
                (BIOCIMMEDIATE, 1),
                (BIOCSHDRCMPLT, 1),
                (BIOCSSEESENT, 0),
            ):
                self._ioctl(request, bytearray(struct.pack("=I", value)))
            code = b"".join(INSTRUCTION.pack(*line) for line in program)
            if code:
                text = ctypes.create_string_buffer(code, len(code))
                count = len(code) // INSTRUCTION.size
                head = struct.pack("@IP", count, ctypes.addressof(text))
                self._ioctl(BIOCSETF, bytearray(head))
            self._ioctl(BIOCSETIF, ioctls.ifreq(interface))
        except BaseException:
            self.close()
            raise

    def _ioctl(self, request: int, argument: bytearray) -> None:
        kernel = self._kernel
        buffer = (ctypes.c_char * len(argument)).from_buffer(argument)
        result = kernel.invoke(kernel.ioctl, self._number, request, buffer)
        if result < 0:
            raise kernel.error(-result, DEVICE.decode())

    def send(self, frame: bytes) -> None:
        """Send one whole frame. Raises KernelError (ENETDOWN)."""
        self._kernel.syscall("write", self._number, frame, len(frame))

    def recv(self, timeout: float) -> list[bytes]:
        """The frames that are there, or that come within ``timeout`` seconds."""
        kernel, end = self._kernel, time.monotonic() + timeout
        while True:
            left = max(0.0, min(SLICE, end - time.monotonic()))
            poll = ctypes.create_string_buffer(struct.pack("=ihh", self._number, 1, 0))
            if kernel.syscall("poll", poll, 1, int(left * 1000)):
                break
            if time.monotonic() >= end:
                return []
        buffer = ctypes.create_string_buffer(ROOM)
        size = kernel.syscall("read", self._number, buffer, ROOM)
        return list(_frames(buffer.raw[:size]))

    def close(self) -> None:
        """Close the descriptor. Idempotent."""
        if self._number >= 0:
            number, self._number = self._number, -1
            if not self._kernel.closed:
                self._kernel.syscall("close", number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _frames(data: bytes) -> Iterator[bytes]:
    """The frames behind their struct bpf_hdr, each at a multiple of a long."""
    head = struct.Struct("@llIIH")
    word, place = struct.calcsize("@l"), 0
    while place + head.size <= len(data):
        _, _, captured, whole, header = head.unpack_from(data, place)
        if captured == whole:
            yield data[place + header : place + header + captured]
        place += -(-(header + captured) // word) * word
