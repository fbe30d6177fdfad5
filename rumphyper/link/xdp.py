"""``xdp:IF``: frames of an interface of the host by AF_XDP sockets.

A small program in the kernel hands what comes in to this link and not to the host's
own stack. See docs/xdp.md.
"""

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

from rumphyper.errors import LinkEndedError, LinkError, LinkstrError
from rumphyper.host.netns import Netns, within
from rumphyper.link import xdp_abi as abi
from rumphyper.link.base import BATCH, ETHER_HEADER, VLAN_TAG, Link
from rumphyper.link.packet_socket import check_interface, look_up
from rumphyper.link.station import station
from rumphyper.link.tap_io import OCTET_TYPES, octets_of
from rumphyper.link.waiter import Waiter
from rumphyper.link.xdp_program import Mode, Program
from rumphyper.link.xdp_socket import QueueSocket

ENTRIES = 1024
"""Slots of each direction of a queue, by default."""

CHUNKS = (2048, 4096)
"""Octets that a slot may have: the kernel takes no others."""

RECHECK = 0.5
"""Seconds: poll(2) does not tell that the interface was deleted (xsk_poll)."""

Way = Literal["get", "views", "count"]


class XdpLink(Link):
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

    def send(self, frames: Sequence[Buffer]) -> int:
        """Send a batch by the first queue.

        Raises FrameError, LinkClosedError, LinkError (the interface is down),
        LinkEndedError (it was deleted), CorruptError.
        """
        if not OCTET_TYPES.issuperset(map(type, frames)):
            frames = [octets_of(frame) for frame in frames]
        sizes = list(map(len, cast("Sequence[bytes]", frames)))
        if sizes and (min(sizes) < ETHER_HEADER or max(sizes) > self.max_frame):
            self.check_frames(frames)
        with self.tx_lock:
            self.check_open()
            queue, total, taken = self.queues[0], len(sizes), 0
            while taken < total:
                rest = slice(taken, total)
                count = queue.sender.put(
                    frames[rest] if taken else frames, sizes[rest] if taken else sizes
                )
                self._kick(queue)
                if not count and not queue.sender.room(1):
                    break
                taken += count
            self.counters.sent += taken
            self.counters.sent_bytes += sum(sizes[:taken])
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
            count = queue.sender.repeat(frame, limit)
            self._kick(queue)
            self.counters.sent += count
            self.counters.sent_bytes += count * len(frame)
            return count

    def _kick(self, queue: QueueSocket) -> None:
        number = queue.kick()
        if number and number != errno.EAGAIN:
            raise self._failed(number)

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


def open_xdp(
    name: str,
    /,
    *,
    mac: bytes | str | None = None,
    netns: Netns | None = None,
    up: bool = False,
    queue: int = 0,
    queues: int = 1,
    mode: Mode = "auto",
    zero_copy: bool | None = None,
    receive: bool = True,
    entries: int = ENTRIES,
) -> XdpLink:
    """Open AF_XDP sockets on queues of the interface ``name``.

    ``mac`` is the address of the station at this end (random). ``netns`` is the
    network namespace of the interface, which ``up`` brings up. The queues are so
    many from ``queue`` on. ``mode`` says where the program runs: ``native`` (in
    the driver), ``generic`` or ``auto``. ``zero_copy`` demands it or forbids it.
    ``receive=False`` does without a program, which takes no right to load one.
    ``entries`` is the slots of each direction of a queue, a power of two.

    Raises LinkstrError (a name or option that cannot be right), HostError (no
    such interface or queue, down, busy, not permitted) and UnsupportedError (a
    kernel or driver that cannot). Nothing stays behind.
    """
    linkstr = f"xdp:{name}"
    check_interface("xdp", name)
    if mode not in ("auto", "native", "generic"):
        raise LinkstrError(linkstr, f"mode={mode!r}", "auto, native or generic")
    if not 0 <= queue < 1 << 16 or not 1 <= queues <= 256:
        remedy = "the first one from 0 on, and how many of them, at most 256"
        raise LinkstrError(linkstr, f"queue={queue}, queues={queues}", remedy)
    if not 64 <= entries <= 1 << 16 or entries & (entries - 1):
        raise LinkstrError(
            linkstr, f"entries={entries}", "a power of two from 64 to 65536"
        )
    here = station(linkstr, mac)
    numbers = range(queue, queue + queues)

    def act() -> XdpLink:
        index, mtu = look_up(linkstr, name, up=up)
        longest = CHUNKS[-1] - abi.HEADROOM - ETHER_HEADER - VLAN_TAG
        its_mtu = min(mtu, longest)
        whole = its_mtu + ETHER_HEADER + VLAN_TAG + abi.HEADROOM
        chunk = next(size for size in CHUNKS if whole <= size)
        with contextlib.ExitStack() as undo:
            sockets = {}
            for number in numbers:
                made = QueueSocket(linkstr, entries, chunk, receives=receive)
                undo.callback(made.close)
                made.bind(index, number, zero_copy)
                sockets[number] = made
            program = None
            if receive:
                fds = {number: made.fd for number, made in sockets.items()}
                program = Program(linkstr, index, fds, mode)
            undo.pop_all()
        return XdpLink(name, list(sockets.values()), program, mac=here, mtu=its_mtu)

    return within(netns, act)
