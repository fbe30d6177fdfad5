"""One AF_XDP socket: its umem, its four rings, and one queue of an interface."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import socket
import sys
import time
from collections.abc import Mapping

from rumphyper.errors import HostError, RumphyperError, UnsupportedError
from rumphyper.host.libc import failure, from_oserror, libc, pin
from rumphyper.link import xdp_abi as abi
from rumphyper.ring.xdp import ADDRESS, DESCRIPTOR, Offsets, Ring
from rumphyper.ring.xdp_receive import Receiver
from rumphyper.ring.xdp_send import Sender, space

RAW = "needs CAP_NET_RAW: run as root, or in a namespace of your own (unshare -Urn)"
BUDGET = 256
"""Frames that one send(2) takes in copy mode, where the kernel lets us choose."""

PATIENCE = 3.0
"""Seconds that a queue may still be busy by a socket that was just closed."""


class QueueSocket:
    """A socket that sends by, and receives from, one queue of an interface."""

    def __init__(
        self, linkstr: str, entries: int, chunk: int, *, receives: bool = True
    ) -> None:
        """Make the socket and its rings, unbound, in the namespace of the caller.

        One that only sends has one slot to receive, as the kernel wants a ring.

        Raises HostError (not permitted, too little memory may be locked) and
        UnsupportedError (a kernel without AF_XDP).
        """
        self._linkstr = linkstr
        with contextlib.ExitStack() as held:
            self.end = _socket(linkstr)
            held.callback(self.end.close)
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            slots = entries if receives else 1
            octets = slots * chunk + space(entries, chunk)
            umem = mmap.mmap(-1, octets, flags=flags)
            self._maps = [umem]
            held.callback(self._unmap)
            counts = dict.fromkeys(abi.PAGE_OFFSETS, entries)
            counts[abi.RX_RING] = counts[abi.FILL_RING] = slots
            self._register(umem, chunk, counts)
            rx, tx, fill, done = self._rings(counts)
            self.receiver = Receiver(rx, fill, umem, chunk, abi.HEADROOM)
            held.callback(self.receiver.close)
            self.sender = Sender(tx, done, umem, chunk, slots * chunk)
            held.callback(self.sender.close)
            self._held = held.pop_all()
        self.fd = self.end.fileno()
        self.zero_copy = False
        self._lost = 0

    def _register(self, umem: mmap.mmap, chunk: int, counts: Mapping[int, int]) -> None:
        self._pinned: ctypes.c_char | None = pin(umem)
        address = ctypes.addressof(self._pinned)
        request = abi.UMEM.pack(address, len(umem), chunk, 0)
        try:
            self._set(abi.UMEM_REG, request)
            for ring, entries in counts.items():
                self._set(ring, entries.to_bytes(4, sys.byteorder))
        except OSError as error:
            remedy = "use fewer entries"
            if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                remedy = "raise the limit of locked memory (ulimit -l), or " + remedy
            raise from_oserror(error, f"umem of {self._linkstr}", remedy) from None
        # Room for all of the ring, or frames would wait in it for the next send.
        room = counts[abi.TX_RING] * 2 * chunk
        try:
            self.end.setsockopt(socket.SOL_SOCKET, abi.SO_SNDBUFFORCE, room)
        except OSError:  # not of the first user namespace's root
            self.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        with contextlib.suppress(OSError):  # Linux before 6.17 has 32
            self._set(abi.MAX_TX_BUDGET, BUDGET.to_bytes(4, sys.byteorder))

    def _set(self, option: int, value: bytes) -> None:
        self.end.setsockopt(abi.SOL_XDP, option, value)

    def _rings(self, counts: Mapping[int, int]) -> list[Ring]:
        try:
            size = 4 * abi.RING_OFFSETS.size
            octets = self.end.getsockopt(abi.SOL_XDP, abi.MMAP_OFFSETS, size)
            if len(octets) != size:
                cause = "the kernel is older than 5.4"
                raise UnsupportedError(self._linkstr, cause, "use packet: there")
            rings = []
            offsets = abi.RING_OFFSETS.iter_unpack(octets)
            # In the order of struct xdp_mmap_offsets: rx, tx, fill, completion.
            for place, (kind, page) in zip(
                offsets, abi.PAGE_OFFSETS.items(), strict=True
            ):
                descriptors = kind in (abi.RX_RING, abi.TX_RING)
                entry = DESCRIPTOR.size if descriptors else ADDRESS.size
                produces = kind in (abi.TX_RING, abi.FILL_RING)
                count = counts[kind]
                memory = mmap.mmap(
                    self.end.fileno(), place[2] + count * entry, offset=page
                )
                self._maps.append(memory)
                rings.append(
                    Ring(
                        self._linkstr, memory, Offsets(*place), count, entry,
                        produces=produces,
                    )
                )  # fmt: skip
        except OSError as error:
            raise from_oserror(error, f"rings of {self._linkstr}") from None
        return rings

    def bind(self, index: int, queue: int, zero_copy: bool | None) -> None:
        """Bind to a queue: by zero copy, or not, or (None) if the driver can.

        Raises HostError and UnsupportedError.
        """
        flags = abi.USE_NEED_WAKEUP
        if zero_copy is not None:
            flags |= abi.ZEROCOPY if zero_copy else abi.COPY
        octets = abi.ADDRESS.pack(abi.AF_XDP, flags, index, queue, 0)
        until = time.monotonic() + PATIENCE
        while libc().bind(self.fd, octets, len(octets)) == -1:
            number = ctypes.get_errno()
            # The kernel takes a closed socket's umem apart some time later.
            if number != errno.EBUSY or time.monotonic() > until:
                raise self._unbound(number, queue)
            time.sleep(0.01)
        said = self.end.getsockopt(abi.SOL_XDP, abi.OPTIONS, 4)
        flags = int.from_bytes(said, sys.byteorder)
        self.zero_copy = bool(flags & abi.OPTIONS_ZEROCOPY)

    def _unbound(self, number: int, queue: int) -> RumphyperError:
        thing = f"queue {queue} of {self._linkstr}"
        if number == errno.EBUSY:
            cause = "another AF_XDP socket has it"
            return HostError(thing, cause, "end that program", number)
        if number == errno.EINVAL:
            cause = "there is no such queue, or it cannot have an AF_XDP socket"
            return HostError(thing, cause, "see `ip -d link` for numrxqueues", number)
        if number == errno.EOPNOTSUPP:
            cause = "the driver has no zero copy for AF_XDP"
            return UnsupportedError(thing, cause, "leave zero_copy out")
        if number == errno.ENETDOWN:
            return HostError(thing, "the interface is down", "bring it up", number)
        return failure(thing, errno=number)

    def kick(self) -> int:
        """Have the kernel send what is in the ring; return an errno, or 0.

        As often as that takes: in copy mode a call sends so many frames only.
        """
        sender, waiting = self.sender.tx, 0
        while sender.needs_wakeup:
            left = sender.count - sender.available()
            if not left or left == waiting:
                return errno.EAGAIN if left else 0
            waiting = left
            try:
                self.end.send(b"", socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EBUSY, errno.ENOBUFS):
                    return error.errno or errno.EIO
        return 0

    def poke(self) -> None:
        """Have the driver look for slots, if it says that it waits for them."""
        if self.receiver.fill.needs_wakeup:
            with contextlib.suppress(OSError):
                self.end.recv(0, socket.MSG_DONTWAIT)

    def lost(self) -> int:
        """Frames that the kernel had no slot for since this was last asked."""
        octets = self.end.getsockopt(abi.SOL_XDP, abi.STATISTICS, abi.COUNTS.size)
        dropped, _, _, full, _, _ = abi.COUNTS.unpack(octets.ljust(48, b"\0"))
        before, self._lost = self._lost, dropped + full
        return int(self._lost - before)

    def _unmap(self) -> None:
        self._pinned = None
        for memory in self._maps:
            with contextlib.suppress(BufferError):  # somebody kept a view
                memory.close()

    def close(self) -> None:
        """Close the socket and let go of the memory. Idempotent."""
        self._held.close()


def _socket(linkstr: str) -> socket.socket:
    try:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        return socket.socket(abi.AF_XDP, kind, 0)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            remedy = "use a kernel with CONFIG_XDP_SOCKETS, or packet:"
            cause = "this kernel has no AF_XDP sockets"
            raise UnsupportedError(linkstr, cause, remedy) from None
        remedy = RAW if error.errno in (errno.EPERM, errno.EACCES) else "use packet:"
        raise from_oserror(error, linkstr, remedy) from None
