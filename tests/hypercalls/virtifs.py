"""A kernel's virt interfaces, over links of which the test has the other end."""

from __future__ import annotations

import ctypes
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from ctypes import c_size_t, c_void_p

from typing_extensions import Buffer

from rumphyper.errors import LinkClosedError
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.tables.virtif import DELIVER
from rumphyper.link.base import BATCH, Link
from tests.hypercalls.support import Setup

SOFTC = 0x5C5C50
MAC = bytes.fromhex("b2a000112233")
RECEIVER_IS_THERE = "hyp_unschedule"
"""Its last call until frames come."""


class Memory(Link):
    """A link of which the test holds the other end."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__("memory:", MAC)
        self.arriving: queue.SimpleQueue[list[bytes] | Exception] = queue.SimpleQueue()
        self.sent: list[bytes] = []
        self.room = room
        self.limits: list[int] = []

    def send(self, frames: Sequence[Buffer]) -> int:
        self.check_open()
        self.check_frames(frames)
        if len(self.sent) >= self.room:
            return 0
        self.sent += [bytes(frame) for frame in frames]
        return len(frames)

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        self.limits.append(limit)
        item = self.arriving.get()
        if isinstance(item, Exception):
            raise item
        return item

    def fileno(self) -> int:
        raise NotImplementedError

    def _wake(self) -> None:
        self.arriving.put(LinkClosedError(self.linkstr, "closed"))

    def _release(self) -> None:
        pass


JUDGE = f"""
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
static void (*sink)(void *, const void *, size_t);
void set(void (*f)(void *, const void *, size_t)) {{ sink = f; }}
void {DELIVER}(void *sc, struct iovec *iov, size_t n)
{{
    if (n == 1)
        sink(sc, iov[0].iov_base, iov[0].iov_len);
}}
"""


class Interfaces:
    """A kernel with virt interfaces: what it was delivered, in which context."""

    def __init__(self, library: ctypes.CDLL, virtif: Virtif, **options: object) -> None:
        virtif.library = library
        setup = Setup(override={"virtif": virtif}, **options)
        self.setup = setup
        self.delivered: list[tuple[int, bytes]] = []
        kind = ctypes.CFUNCTYPE(None, c_size_t, c_size_t, c_size_t)
        self._sink = kind(self._deliver)
        library.set(self._sink)

    def _deliver(self, softc: int, base: int, length: int) -> None:
        self.delivered.append((softc, ctypes.string_at(base, length)))
        self.setup.kernel.events.append(("deliver", threading.get_ident(), ()))

    def create(self, devstr: bytes) -> tuple[int, int, bytes]:
        """Result, handle and MAC of rumpcomp_virt_create."""
        mac = (ctypes.c_uint8 * 6)(*b"\xb2\x0a\x00\x0b\x0e\x01")
        user = c_void_p()
        result = self.setup.call(
            "virt_create", devstr, SOFTC, ctypes.addressof(mac), ctypes.byref(user)
        )
        return result, user.value or 0, bytes(mac)


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that another thread brings about."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Datagrams(Memory):
    """A link whose frames are read by its descriptor: the near end of a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)

    def frame_fd(self) -> int:
        return self.near.fileno()

    def _release(self) -> None:
        self.near.close()
        self.far.close()
