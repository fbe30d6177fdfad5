"""Frames of the kernel on their way to a link, gathered to bursts.

virt(4) hands over frame by frame. Where a link's `send` is a matter of Python,
each of them costs a callback. So frames that follow each other without a pause go
into a socket, whose writev(2) has the arguments of the hypercall: the kernel sends
by C alone, and its memory is free when that returns. A thread takes what has come, a
burst at a time, and sends it; it does not wait for more.

Waking that thread would take longer than a callback, so a lone frame does not go
there: until frames come close together, and again after a pause, the kernel has a
descriptor that takes nothing. Then its thread comes here, see `SendQueue.send`, as
it does when the socket is full.

A socket of packets keeps frames apart and in order (unix(7), SOCK_SEQPACKET).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import mmap
import os
import select
import socket
import threading
from time import monotonic_ns
from typing import TYPE_CHECKING, BinaryIO

from rumphyper.errors import FrameError, HostError, LinkClosedError
from rumphyper.host.libc import from_oserror, libc, pin
from rumphyper.host.library import Thunk
from rumphyper.host.thunks import ThunkBuilder
from rumphyper.hypercalls.burst import writev_address
from rumphyper.hypercalls.report import Reporter
from rumphyper.link.base import ETHER_HEADER
from rumphyper.link.packet_abi import MSG_DONTWAIT, Iovec, Mmsghdr
from rumphyper.ring.slots import Slots

if TYPE_CHECKING:
    from rumphyper.hypercalls.receiver import Interface

FRAMES = 64
"""Frames of a burst at most."""

WAITING = 1 << 20
"""Octets that may wait, as far as the host allows: that many are some 400 frames."""

TIGHT_NS = 20_000
"""A run is of frames of which each comes so soon after the one before was sent."""

FEW = 4
"""Frames of a run before the socket takes them."""

PAUSE_MS = 2
"""When so long no frame has come the run is over."""


def writev_or(python: int) -> Thunk:
    """A thunk that writes a frame to the handle, or has ``python`` send it.

    That is the address of a callback, taken back at the end of the process.
    """
    builder = ThunkBuilder("librumphyper-send.so")
    builder.attempt("send", 3, negative=True)
    thunk = builder.load()["send"]
    thunk.target, thunk.second = writev_address(), python

    def disarm() -> None:
        thunk.second = libc().abs

    atexit.register(disarm)
    return thunk


class SendQueue:
    """Frames of one interface, which counts those that its link does not take.

    Frames are written to ``fd``, which never blocks but may refuse. Raises HostError
    when the host has no more descriptors or threads.
    """

    def __init__(self, interface: Interface, reporter: Reporter) -> None:
        self._interface = interface
        self._reporter = reporter
        self._lock = threading.Lock()
        """Held from taking frames out of the socket until they are sent."""

        self._open = False
        """Whether the kernel writes into the socket."""

        self._over = False
        """Whether the thread shall end. A socket's end would not tell it: a forked
        process may have the other one, too."""

        self._run = 0
        self._tight_until = 0
        link, name = interface.link, interface.name
        # An octet more than a frame has shows one that is too long.
        room = link.max_frame + 1
        memory = mmap.mmap(-1, FRAMES * room)
        self._slots = Slots(memory, 0, room, FRAMES)
        base = ctypes.addressof(pin(memory, 0, FRAMES * room))
        self._iovecs = (Iovec * FRAMES)()
        self._messages = (Mmsghdr * FRAMES)()
        for iovec, message, at in zip(
            self._iovecs, self._messages, self._slots.offsets, strict=True
        ):
            iovec.base, iovec.length = base + at, room
            message.header.iovecs = ctypes.addressof(iovec)
            message.header.iovec_count = 1
        words = memoryview(self._messages).cast("B").cast("I")
        step = ctypes.sizeof(Mmsghdr) // words.itemsize
        self._lengths = words[Mmsghdr.length.offset // words.itemsize :: step]
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        with contextlib.ExitStack() as held:
            try:
                writer, reader = socket.socketpair(socket.AF_UNIX, kind)
                self._writer = held.enter_context(writer)
                self._reader = held.enter_context(reader)
                self._refusing = held.enter_context(open(os.devnull, "rb"))
                self._bell = os.eventfd(0, os.EFD_CLOEXEC)
                held.callback(os.close, self._bell)
                self.fd = os.dup(self._refusing.fileno())
                """Where the kernel writes a frame by each writev(2)."""
            except OSError as error:
                raise from_oserror(error, name, "close something") from None
            held.callback(os.close, self.fd)
            self._held = held.pop_all()
        writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WAITING)
        self._receive = libc().recvmmsg
        self._arguments = (
            ctypes.c_int(self._reader.fileno()),
            ctypes.c_void_p(ctypes.addressof(self._messages)),
            ctypes.c_uint(FRAMES),
            ctypes.c_int(MSG_DONTWAIT),
            None,
        )
        self._thread = threading.Thread(
            target=self._work, name=f"virtif {name} sends", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self.close()
            raise HostError(name, str(error), "end other threads") from None

    def _work(self) -> None:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while not self._over:
            there = poll.poll(PAUSE_MS if self._open else None)
            with self._lock:
                if not there:
                    self._admit(self._refusing)
                    self._tight_until = 0
                self._flush()

    def _admit(self, target: socket.socket | BinaryIO) -> None:
        """Let the kernel write into the socket, or nowhere."""
        os.dup2(target.fileno(), self.fd, inheritable=False)
        self._open = target is self._writer

    def _flush(self) -> None:
        """Send what has come."""
        count = FRAMES
        while count == FRAMES:
            count = self._receive(*self._arguments)
            if count > 0:
                self._put(self._slots.get(0, self._lengths[:count].tolist()))

    def _put(self, frames: list[bytes]) -> None:
        """Send a burst, or what of it the link can carry."""
        interface, taken = self._interface, 0
        link, name = interface.link, f"virt {interface.name}"
        try:
            try:
                taken = link.send(frames)
            except FrameError as error:
                self._reporter.exception(name, error)
                longest = link.max_frame
                good = [f for f in frames if ETHER_HEADER <= len(f) <= longest]
                taken = link.send(good)
        except Exception as error:
            if not (interface.dying and isinstance(error, LinkClosedError)):
                self._reporter.exception(name, error)
        interface.dropped += len(frames) - taken

    def send(self, frame: bytes) -> None:
        """Send a frame that the socket did not take, after those that wait there."""
        with self._lock:
            tight = monotonic_ns() < self._tight_until
            self._run = self._run + 1 if tight else 0
            self._flush()
            self._put([frame])
            if self._run >= FEW and not (self._open or self._over):
                self._admit(self._writer)
            self._tight_until = monotonic_ns() + TIGHT_NS

    def finish(self) -> None:
        """Send all that waits; the thread ends. Idempotent.

        The descriptor stays, for C code may still write to it: it refuses.
        """
        if self._thread.is_alive():
            with self._lock:
                self._over = True
                self._admit(self._refusing)
                self._flush()
            os.eventfd_write(self._bell, 1)
            self._thread.join()

    def close(self) -> None:
        """Free the descriptors; nobody writes any more. Idempotent."""
        self._held.close()
