"""The link over AF_XDP sockets that are open: `rumphyper.link.xdp` opens it."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Literal, cast

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError, LinkError
from rumphyper.link.base import BATCH
from rumphyper.link.octets import (
    OctetLink,
    StrangeBufferError,
    check_types,
    sizes_of,
    total,
)
from rumphyper.link.waiter import Waiter
from rumphyper.link.xdp_program import Program
from rumphyper.link.xdp_socket import QueueSocket
from rumphyper.ring.slots import STRANGE

RECHECK = 0.5
"""Seconds: poll(2) does not tell that the interface was deleted (xsk_poll)."""

Way = Literal["get", "views", "count"]


class XdpLink(OctetLink):
    """One AF_XDP socket for each of some queues of an interface.

    Frames go out by the first queue, in order, and come from all of them in turn.
    """

    def __init__(
        self,
        name: str,
        queues: Sequence[QueueSocket],
        program: Program | None,
        *,
        mac: bytes,
        mtu: int,
    ) -> None:
        """Take over ``queues`` and ``program``, closed even when this fails."""
        super().__init__(f"xdp:{name}", mac, mtu)
        self.name = name
        self.queues = tuple(queues)
        self.mode = program.mode if program else ""
        """``native`` or ``generic``: where the program runs; empty without one."""

        self.zero_copy = all(queue.zero_copy for queue in queues)
        self._receives = program is not None
        self._turn = 0
        with contextlib.ExitStack() as held:
            for queue in queues:
                held.callback(queue.close)
            if program is not None:
                held.callback(program.close)
            self._waiter = Waiter(self._watched(held))
            held.callback(self._waiter.close)
            self._held = held.pop_all()

    def _watched(self, held: contextlib.ExitStack) -> int:
        """A descriptor that is readable when one of the queues is."""
        if len(self.queues) == 1:
            return self.queues[0].fd
        epoll = held.enter_context(select.epoll())
        for queue in self.queues:
            epoll.register(queue.fd, select.EPOLLIN)
        return epoll.fileno()

    # -- sending -------------------------------------------------------------

    def _send(self, frames: Sequence[Buffer]) -> int:
        sizes = sizes_of(self, frames, self.max_frame)
        queue = self.queues[0]
        sender = queue.sender
        if len(sizes) > sender.tx.count - sender.tx.position:
            check_types(frames)  # while none of them has gone out
        taken = 0
        while taken < len(sizes):
            some, lengths = frames, sizes
            if taken:
                some, lengths = frames[taken:], sizes[taken:]
            try:
                count = sender.put(some, lengths)
            except STRANGE:
                raise StrangeBufferError from None
            try:
                count = self._push(count)
            except LinkError:
                if not taken:
                    raise
                break
            if not count and not sender.room(1):
                break
            taken += count
        self.counters.sent += taken
        self.counters.sent_bytes += total(sizes[:taken])
        return taken

    def generate(self, frame: bytes, limit: int) -> int:
        """Send ``frame`` up to ``limit`` times; return how often.

        The slots are filled once: meant to be called again and again with the
        same frame. Raises as `send` does.
        """
        with self.tx_lock:
            self.check_open()
            self.check_frames([frame])
            queue = self.queues[0]
            count = self._push(queue.sender.repeat(frame, limit))
            self.counters.sent += count
            self.counters.sent_bytes += count * len(frame)
            return count

    def _push(self, count: int) -> int:
        """Have the kernel send the ``count`` frames put last; how many it will.

        What it refused before it looked at any is not left to be sent some day.
        """
        queue = self.queues[0]
        number = queue.kick()
        if number and number != errno.EAGAIN:
            if not queue.zero_copy and queue.sender.take_back(count):
                count = 0
            if not count:
                raise self._failed(number)
        return count

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take frames that came in by the queues.

        Raises LinkClosedError, LinkEndedError (the interface was deleted),
        LinkError (the link only sends), CorruptError.
        """
        return cast("list[bytes]", list(self._take("get", limit, timeout)[0]))

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`, but lends the umem's slots."""
        return self._take("views", limit, timeout)[0]

    def count(self, limit: int = BATCH, timeout: float | None = None) -> int:
        """Take frames without looking at them; return how many."""
        return self._take("count", limit, timeout)[1]

    def _take(
        self, way: Way, limit: int, timeout: float | None
    ) -> tuple[Sequence[Buffer], int]:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self.check_open()
            if not self._receives:
                cause = "the link only sends (receive=False)"
                raise LinkError(self.linkstr, cause, "open it without that")
            found = self._look(way, limit)
            if found[1] or timeout == 0:
                return found
            deadline = None if timeout is None else time.monotonic() + timeout
            left = timeout
            while not found[1] and left != 0:
                self._waiter.wait(RECHECK if left is None else min(left, RECHECK))
                self.check_open()
                found = self._look(way, limit)
                if deadline is not None:
                    left = max(0.0, deadline - time.monotonic())
            return found

    def _look(self, way: Way, limit: int) -> tuple[Sequence[Buffer], int]:
        """What the queues have, another one first each time; their errors."""
        queues = self.queues
        for number in range(len(queues)):
            queue = queues[(self._turn + number) % len(queues)]
            frames, count, octets = queue.receiver.take(limit, way)
            if count:
                self._turn += number + 1
                self.counters.received += count
                self.counters.received_bytes += octets
                return frames, count
        for queue in queues:
            error = queue.end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:  # told when it is deleted only (xsk_notifier)
                raise self._failed(errno.ENXIO if error == errno.ENETDOWN else error)
            queue.poke()
            self.counters.dropped += queue.lost()
        return (), 0

    def fileno(self) -> int:
        """Readable when `recv` would not wait."""
        self.check_open()
        return self._waiter.fd

    # -- errors and the end --------------------------------------------------

    def _failed(self, number: int) -> LinkError:
        if number == errno.ENETDOWN:
            remedy = f"bring it up: `ip link set {self.name} up`"
            return LinkError(self.linkstr, "the interface is down", remedy)
        if number == errno.ENXIO:  # the kernel has unbound the socket
            cause = f"the interface {self.name} was deleted"
            return LinkEndedError(self.linkstr, cause, "open it again")
        return LinkError(self.linkstr, os.strerror(number), "see the kernel's log")

    def _wake(self) -> None:
        self._waiter.wake()

    def _release(self) -> None:
        self._held.close()
