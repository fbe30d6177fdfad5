"""bpf(2) with no library: maps, programs and links, each a descriptor.

Facts: bpf(2); Linux include/uapi/linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

import ctypes
import errno
import struct
import sys

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host.syscalls import syscall

MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, LINK_CREATE = 0, 2, 5, 28
MAP_TYPE_XSKMAP = 17
PROG_TYPE_XDP = 6
ATTACH_XDP = 37

NAME = 16
"""Octets of a map's or program's name, with the null."""

_MAP = struct.Struct("=IIIIIII16s")
_ELEMENT = struct.Struct("=I4xQQQ")
_PROGRAM = struct.Struct("=IIQQIIQII16sII")
_LINK = struct.Struct("=IIII")
_LOG = 1 << 16
DENIED = "needs CAP_BPF and CAP_NET_ADMIN of the host itself: run as root"


def _call(command: int, attributes: bytes, thing: str) -> int:
    """Make one request. UnsupportedError without bpf(2), HostError otherwise."""
    octets = ctypes.create_string_buffer(attributes, len(attributes))
    try:
        return syscall("bpf", command, octets, len(attributes))
    except HostError as error:
        if error.errno == errno.ENOSYS:
            remedy = "use a kernel with CONFIG_BPF_SYSCALL"
            raise UnsupportedError(thing, "this kernel has no bpf(2)", remedy) from None
        remedy = DENIED if error.errno in (errno.EPERM, errno.EACCES) else ""
        raise HostError(thing, error.cause, remedy, error.errno) from None


def create_map(kind: int, key: int, value: int, entries: int, name: str) -> int:
    """Make a map with keys and values of so many octets; its descriptor."""
    attributes = _MAP.pack(kind, key, value, entries, 0, 0, 0, name.encode())
    return _call(MAP_CREATE, attributes, f"bpf map {name}")


def update_map(fd: int, key: int, value: int, name: str) -> None:
    """Set the value, of 32 bits, of a key, of 32 bits."""
    pair = ctypes.create_string_buffer(struct.pack("=II", key, value), 8)
    at = ctypes.addressof(pair)
    attributes = _ELEMENT.pack(fd, at, at + 4, 0)
    _call(MAP_UPDATE_ELEM, attributes, f"bpf map {name}")


def load_program(kind: int, instructions: bytes, name: str) -> int:
    """Have the kernel verify and load a program; its descriptor.

    HostError with the last line of what the verifier says when it refuses.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"Dual BSD/GPL")
    log = ctypes.create_string_buffer(_LOG)

    def attributes(level: int, room: int, at: int) -> bytes:
        return _PROGRAM.pack(
            kind, len(instructions) // 8, ctypes.addressof(code),
            ctypes.addressof(licence), level, room, at, 0, 0, name.encode(), 0, 0,
        )  # fmt: skip

    thing = f"bpf program {name}"
    try:
        return _call(PROG_LOAD, attributes(0, 0, 0), thing)
    except HostError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
        try:
            fd = _call(PROG_LOAD, attributes(1, _LOG, ctypes.addressof(log)), thing)
        except HostError:
            said = log.value.decode(errors="replace").strip().splitlines()
            if not said:
                raise error from None
            raise HostError(thing, said[-1], "see dmesg", error.errno) from None
        return fd


def create_link(program: int, index: int, kind: int, flags: int, thing: str) -> int:
    """Attach a program to the interface ``index`` while the descriptor is open.

    Of the namespace that the caller is in. Needs Linux 5.9 for XDP.
    """
    return _call(LINK_CREATE, _LINK.pack(program, index, kind, flags), thing)


def instruction(
    code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0
) -> bytes:
    """One instruction (struct bpf_insn)."""
    little = sys.byteorder == "little"
    registers = target | source << 4 if little else target << 4 | source
    return struct.pack("=BBhi", code, registers, offset, value)
