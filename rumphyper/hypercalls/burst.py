"""Delivering bursts of frames from a descriptor, no Python per octet or frame.

One read(2) a frame is unavoidable on a TAP, but the rest can be had once per
burst: the frames lie in buffers whose iovecs form an array, and libc's
lfind(3) walks that array in one foreign call, calling a thunk for each element
that delivers it and answers "not found". The thunk is the kernel's deliver
upcall with its third argument (how many iovecs: 1) bound in advance.

The calls are prebuilt: converting arguments would cost more than the calls.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import threading

from rumphyper.errors import HostError
from rumphyper.host.libc import failure, libc, pin
from rumphyper.host.library import Target, ThunkLibrary
from rumphyper.host.thunks import ThunkBuilder

FRAMES = 64
"""Frames of a burst at most; the kernel's own queue holds 256 of them."""

IOVEC = 2 * ctypes.sizeof(ctypes.c_size_t)


def deliver_each(deliver: Target) -> ThunkLibrary:
    """A library with the thunk ``deliver_one(softc, iovec)`` over ``deliver``."""
    builder = ThunkBuilder("librumphyper-deliver.so")
    builder.bound("deliver_one", argc=3, result=1, keep=2)
    library = builder.load(ctypes.RTLD_LOCAL)
    library["deliver_one"].target = deliver
    library["deliver_one"].args[0] = 1
    return library


class Burst:
    """Reads frames from ``fd`` and delivers them to the interface ``softc``.

    ``fd`` must be non-blocking and give one frame per read. ``room`` is the
    size of each buffer in octets, ``thunk`` the address of `deliver_each`'s.
    One thread uses it; any thread may `wake` it.
    """

    frames = FRAMES
    header = 0
    """Octets in front of each frame in its buffer that are not delivered."""

    def __init__(self, fd: int, room: int, softc: int, thunk: int) -> None:
        self.received = 0
        self.received_bytes = 0
        self._lock = threading.Lock()
        self._event = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._event, select.POLLIN)
        self.memory = mmap.mmap(-1, self.frames * room)
        base = ctypes.addressof(pin(self.memory, 0, self.frames * room))
        self.starts = [base + index * room for index in range(self.frames)]
        self.iovecs = (ctypes.c_size_t * (2 * self.frames))()
        self.iovecs[::2] = [start + self.header for start in self.starts]
        number, size = ctypes.c_int(fd), ctypes.c_size_t(room)
        self.reads = [(number, ctypes.c_void_p(start), size) for start in self.starts]
        self.read_one = ctypes.CFUNCTYPE(ctypes.c_ssize_t, use_errno=True)(
            ("read", libc())
        )
        self._count = ctypes.c_size_t()
        self._walk = libc().lfind
        self._arguments = (
            ctypes.c_void_p(softc),
            ctypes.byref(self.iovecs),
            ctypes.byref(self._count),
            ctypes.c_size_t(IOVEC),
            ctypes.c_void_p(thunk),
        )

    def wait(self) -> None:
        """Wait until there may be a frame, or `wake` was called."""
        self._poll.poll()

    def read(self) -> int:
        """Read what is there, at most a burst; return the number of frames.

        Raises HostError when the descriptor fails.
        """
        number = self._fill()
        if not number and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            raise failure("receive", "the interface is gone: create it again")
        self.received += number
        self._count.value = number
        return number

    def _fill(self) -> int:
        """Read until there is no more or no buffer is left."""
        iovecs, read = self.iovecs, self.read_one
        octets = 0
        for number, arguments in enumerate(self.reads):
            count = read(*arguments)
            if count <= 0:
                break
            octets += count
            iovecs[2 * number + 1] = count
        else:
            number = self.frames
        self.received_bytes += octets
        return number

    def deliver(self) -> None:
        """Deliver what `read` has read; on a thread that is in the kernel."""
        self._walk(*self._arguments)

    def wake(self) -> None:
        """End `wait`, now and from now on. No effect after `close`."""
        with self._lock:
            if self._event >= 0:
                os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Free the event; the memory goes with the object. Idempotent.

        Nobody may wait any more.
        """
        with self._lock:
            event, self._event = self._event, -1
            if event >= 0:
                os.close(event)


def writev_address() -> int:
    """The address of libc's writev(2), whose arguments are those of virt_send.

    ``rumpcomp_virt_send(user, iov, iovlen)`` with the descriptor as ``user``
    is writev(fd, iov, iovlen): a frame is sent with neither Python nor the GIL.
    """
    address = ctypes.cast(libc().writev, ctypes.c_void_p).value
    if not address:
        raise HostError("writev", "not found in libc", "use another link")
    return address
