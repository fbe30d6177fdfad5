"""sendmsg and recvmsg: several buffers and ancillary data in one call.

Ancillary data that is translated: SCM_RIGHTS (descriptors of the kernel),
SCM_TIMESTAMP, and what IP and IPv6 options ask for, by the numbers of
constants.py. Structures: NetBSD sys/sys/socket.h (msghdr, cmsghdr), where a
cmsghdr is 12 octets and data starts aligned to the machine's word.
"""

from __future__ import annotations

import ctypes
import operator
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rumphyper.hypercalls.errno import Errno
from rumphyper.kernel import constants
from rumphyper.kernel.buffers import Pinned, writable
from rumphyper.kernel.constants import MSG_DONTWAIT, MSG_NBIO, failure
from rumphyper.kernel.poll import POLLIN, POLLOUT, wait
from rumphyper.kernel.sockaddr import Address
from rumphyper.kernel.sockcontext import Name
from rumphyper.kernel.transport import SLICE

if TYPE_CHECKING:
    from rumphyper.kernel.sockets import Socket

Ancillary = list[tuple[int, int, bytes]]

_HEADER = struct.Struct("=Iii")
_WORD = struct.calcsize("l")
SCM_RIGHTS = 0x01
_SCM_TIMESTAMP = 0x08
_HOST_RIGHTS = int(getattr(socket, "SCM_RIGHTS", 1))
_IOV_MAX = 1024  # sys/sys/syslimits.h


class Iovec(ctypes.Structure):
    """struct iovec (sys/sys/uio.h)."""

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    """struct msghdr (sys/sys/socket.h)."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_int),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_uint),
        ("flags", ctypes.c_int),
    ]


def _align(size: int) -> int:
    return (size + _WORD - 1) & ~(_WORD - 1)


def _type_to_netbsd(level: int, kind: int) -> tuple[int, int]:
    if level == socket.SOL_SOCKET and kind == _HOST_RIGHTS:
        return constants.SOL_SOCKET, SCM_RIGHTS
    return constants.option_to_netbsd(level, kind)


def _type_to_host(level: int, kind: int) -> tuple[int, int]:
    host_level = constants.LEVEL_TO_HOST.get(level, level)
    if level == constants.SOL_SOCKET:
        known = {SCM_RIGHTS: _HOST_RIGHTS, _SCM_TIMESTAMP: constants.HOST_TIMESTAMP}
        return host_level, known.get(kind, kind)
    return host_level, constants.OPTION_TO_HOST.get(level, {}).get(kind, kind)


def _checked(item: Any) -> tuple[int, int, bytes]:
    if not isinstance(item, Sequence) or len(item) != 3:
        raise TypeError("sendmsg() argument 2 must hold (level, type, data) triples")
    level, kind, data = item
    return operator.index(level), operator.index(kind), bytes(memoryview(data))


def pack_ancillary(items: Iterable[tuple[int, int, Any]]) -> bytes:
    """NetBSD's control octets of the host's (level, type, data) triples.

    Raises TypeError for another form, OSError(ENOPROTOOPT) for an unknown type.
    """
    whole = bytearray()
    for level, kind, raw in [_checked(item) for item in items]:
        level, kind = _type_to_netbsd(level, kind)
        head = _align(_HEADER.size)
        whole += _HEADER.pack(head + len(raw), level, kind).ljust(head, b"\0")
        whole += raw.ljust(_align(len(raw)), b"\0")
    return bytes(whole)


def unpack_ancillary(raw: bytes) -> Ancillary:
    """The host's triples of NetBSD's control octets; stops where they break off."""
    items: Ancillary = []
    offset = 0
    head = _align(_HEADER.size)
    while offset + head <= len(raw):
        length, level, kind = _HEADER.unpack_from(raw, offset)
        if length < head:
            break
        data = raw[offset + head : offset + length]
        items.append((*_type_to_host(level, kind), data))
        offset += _align(length)
    return items


def _header(
    parts: Sequence[tuple[int, int]], control: Any, name: Any, name_length: int
) -> tuple[Msghdr, Any]:
    if len(parts) > _IOV_MAX:
        raise failure(Errno.EMSGSIZE)
    iov = (Iovec * max(len(parts), 1))(*(Iovec(*part) for part in parts))
    return (
        Msghdr(
            ctypes.addressof(name) if name is not None else None,
            name_length,
            ctypes.addressof(iov),
            len(parts),
            ctypes.addressof(control) if control is not None else None,
            ctypes.sizeof(control) if control is not None else 0,
            0,
        ),
        iov,
    )


def send(
    sock: Socket, buffers: Iterable[Any], ancdata: Any, flags: int, address: object
) -> int:
    """sendmsg: on a blocking stream all of it, else what the kernel took."""
    pinned = [Pinned(buffer) for buffer in buffers]
    try:
        raw = pack_ancillary(ancdata)
        control = (ctypes.c_char * len(raw)).from_buffer_copy(raw) if raw else None
        name = None
        if address is not None:
            packed = sock._packed(address, "sendmsg")
            name = (ctypes.c_char * len(packed)).from_buffer_copy(packed)
        number = constants.flags_to_netbsd(flags)
        parts = [(one.address, one.size) for one in pinned]
        size = sum(one.size for one in pinned)
        count = _send(sock, parts, control, name, number)
        done = count
        whole = sock._send_timeout is None and not number & MSG_DONTWAIT
        while done < size and whole:
            parts = _behind(parts, count)
            count = _send(sock, parts, None, name, number)
            done += count
        return done
    finally:
        for one in pinned:
            one.release()


def _behind(parts: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The parts without their first ``count`` octets."""
    rest = []
    for address, size in parts:
        skip = min(count, size)
        count -= skip
        if size > skip:
            rest.append((address + skip, size - skip))
    return rest


def _send(
    sock: Socket, parts: list[tuple[int, int]], control: Any, name: Any, flags: int
) -> int:
    """One part of `send`; ``flags`` are the caller's, in NetBSD's numbers."""
    header, _held = _header(parts, control, name, ctypes.sizeof(name) if name else 0)
    number = sock._send_flags | flags
    if number & MSG_DONTWAIT:
        number |= MSG_NBIO
    timeout = sock._send_timeout
    deadline = time.monotonic() + timeout if timeout else None
    while True:
        count = sock._calls.sendmsg(sock._fd, ctypes.byref(header), number)
        if count >= 0:
            return count
        if count == -Errno.EINTR:
            continue
        if count != -Errno.EAGAIN or sock._never_waits(flags):
            raise failure(-count)
        if deadline is not None and not wait(sock._calls, sock._fd, POLLOUT, deadline):
            raise sock._expired()


def receive(
    sock: Socket, parts: list[tuple[int, int]], ancbufsize: int, flags: int
) -> tuple[int, Ancillary, int, Address]:
    """recvmsg into memory: count, ancillary data, the host's flags, address."""
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    number = constants.flags_to_netbsd(flags)
    timeout = sock._recv_timeout
    deadline = time.monotonic() + timeout if timeout else None
    no_wait = sock._never_waits(number)
    while True:
        name = Name()
        control = ctypes.create_string_buffer(ancbufsize) if ancbufsize else None
        header, _held = _header(parts, control, name.raw, ctypes.sizeof(name.raw))
        now = number
        if deadline is not None and deadline - time.monotonic() < SLICE:
            now |= MSG_DONTWAIT
        count = sock._calls.recvmsg(sock._fd, ctypes.byref(header), now)
        if count >= 0:
            break
        if count == -Errno.EINTR:
            continue
        if count != -Errno.EAGAIN or no_wait:
            raise failure(-count)
        if now & MSG_DONTWAIT and not wait(sock._calls, sock._fd, POLLIN, deadline):
            raise sock._expired()
    name.length.value = header.name_length
    raw = control.raw[: header.control_length] if control is not None else b""
    return (
        count,
        unpack_ancillary(raw),
        constants.flags_to_host(header.flags & ~now),
        name.value() if header.name_length else None,
    )


def receive_into(
    sock: Socket, buffers: Iterable[Any], ancbufsize: int, flags: int
) -> tuple[int, Ancillary, int, Address]:
    """recvmsg into the caller's buffers."""
    held = list(buffers)
    parts = []
    for buffer in held:
        pointer, size = writable(buffer)
        if size:
            parts.append((ctypes.cast(pointer, ctypes.c_void_p).value or 0, size))
    return receive(sock, parts, ancbufsize, flags)
