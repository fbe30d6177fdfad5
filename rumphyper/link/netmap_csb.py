"""CSB mode: the kernel syncs the rings by itself, so that moving frames calls nothing.

The application's indices and the kernel's are exchanged through two arrays
(nm_csb_atok, nm_csb_ktoa) instead of the rings' headers. A thread lends itself
to the kernel's loop, which looks at them every few microseconds, and which
writes an eventfd when frames came that somebody waits for. Facts: netmap
sys/net/netmap.h (CSB), netmap_kloop.c.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
from collections.abc import Iterator

from rumphyper.errors import HostError
from rumphyper.host.libc import address
from rumphyper.link.netmap_abi import KLOOP_START, OPTION, Option, Request
from rumphyper.link.netmap_request import control
from rumphyper.ring import netmap_abi as ring_abi

MOST_RINGS = 1024
"""Rings of one port in CSB mode, all tx and rx rings together."""
SLEEP = 50
"""Microseconds that the kernel's loop sleeps when it has nothing to do."""
_ARRAY = MOST_RINGS * ring_abi.CSB_ENTRY


class Csb:
    """The two arrays of one port, and the thread in the kernel's loop."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * _ARRAY)
        self._octets = memoryview(self._memory)
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when frames came after `ask`."""

        self._thread: threading.Thread | None = None
        self._asks: list[memoryview] = []
        self.failure: HostError | None = None
        """Why the kernel's loop ended, when it did so by itself."""

    def addresses(self) -> tuple[int, int]:
        """Where nm_csb_atok and nm_csb_ktoa are."""
        return address(self._memory), address(self._memory, _ARRAY)

    def entries(self) -> Iterator[tuple[memoryview, memoryview]]:
        """The entries of one ring after the other."""
        size = ring_abi.CSB_ENTRY
        for at in range(0, _ARRAY, size):
            ktoa = _ARRAY + at
            yield self._octets[at : at + size], self._octets[ktoa : ktoa + size]

    def start(self, fd: int, name: str, tx: int, rx: int) -> None:
        """Start the kernel's loop for so many rings. HostError."""
        first = ring_abi.ATOK_NEED_KICK
        for ring in range(tx, tx + rx):
            at = ring * ring_abi.CSB_ENTRY + first
            self._asks.append(self._octets[at : at + 4].cast("I"))
        for ring in range(tx):  # nobody waits for room
            at = ring * ring_abi.CSB_ENTRY + first
            self._octets[at : at + 4] = bytes(4)
        # No ioeventfd: the loop polls the arrays. The rx rings share an irqfd.
        pairs = [(-1, -1)] * tx + [(-1, self.event)] * rx
        size = OPTION.size + 8 * len(pairs)
        option = bytearray(OPTION.pack(0, Option.SYNC_KLOOP_EVENTFDS, 0, size))
        option += b"".join(struct.pack("=ii", *pair) for pair in pairs)

        def loop() -> None:
            body = bytearray(KLOOP_START.pack(SLEEP))
            try:
                control(fd, Request.SYNC_KLOOP_START, name, body, [option])
            except HostError as error:
                self.failure = error
                os.eventfd_write(self.event, 1)

        self._thread = threading.Thread(target=loop, name=f"kloop {name}", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Have the eventfd written when the next frames come."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.event)
        for ask in self._asks:
            ask[0] = 1

    def stop(self, fd: int) -> None:
        """End the kernel's loop and wait for the thread. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            while thread.is_alive():  # it may be about to enter the loop
                with contextlib.suppress(HostError):
                    control(fd, Request.SYNC_KLOOP_STOP, "")
                thread.join(0.05)

    def close(self) -> None:
        """Free the arrays; the port is closed. Idempotent."""
        if self.event < 0:
            return
        event, self.event = self.event, -1
        os.close(event)
        for ask in self._asks:
            ask.release()
        self._octets.release()
        with contextlib.suppress(BufferError):
            self._memory.close()
