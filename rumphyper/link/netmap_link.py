"""The link over an open netmap port: `rumphyper.link.netmap` opens it."""

from __future__ import annotations

import fcntl
import select
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from typing_extensions import Buffer

from rumphyper.errors import LinkError
from rumphyper.link.base import BATCH, ETHER_MTU, Link
from rumphyper.link.netmap_abi import NIOCRXSYNC, NIOCTXSYNC
from rumphyper.link.netmap_port import Port
from rumphyper.link.netmap_wait import Wait
from rumphyper.net.vnet import HEADER as VNET_HEADER
from rumphyper.net.vnet import complete
from rumphyper.ring.netmap import Ring
from rumphyper.ring.netmap_fill import Filler
from rumphyper.ring.netmap_frames import copy_in, copy_out, views

T = TypeVar("T")


class NetmapLink(Link):
    """One netmap port.

    Frames go out by the tx rings that are bound, one after the other, and come
    from all rx rings in turn: with ``*`` those of the NIC and of the host's
    stack, but they go out by the NIC's only. With ``busy`` `recv` never sleeps.
    """

    def __init__(
        self,
        port: Port,
        *,
        mac: bytes,
        mtu: int = ETHER_MTU,
        vnet_header: int = 0,
        busy: bool = False,
    ) -> None:
        """Take over ``port``, which is closed even when this fails."""
        super().__init__(port.linkstr, mac, mtu)
        self.port = port
        self.busy = busy
        self._polled = False
        """Whether somebody waits by `fileno`."""

        try:
            face = port.face
            # A monitor has tx rings too, of which nothing comes.
            sends = () if port.name.monitor else face.tx or face.host_tx
            self.tx: tuple[Ring, ...] = sends
            """The rings by which frames go out."""

            self.rx: tuple[Ring, ...] = face.rx + face.host_rx
            """The rings by which frames come."""

            self.vnet_header = vnet_header
            """Octets of the header in front of each frame in the rings."""

            self._octets = memoryview(port.memory).toreadonly()
            self._lent: list[memoryview] = []
            self._fillers: list[Filler] = []
            self._turn = 0
            if port.csb is not None:
                tx, rx = len(face.tx + face.host_tx), len(self.rx)
                port.csb.start(port.fd, port.name.name, tx, rx)
            self._wait = Wait(port)
        except BaseException:
            port.close()
            raise

    # -- sending -------------------------------------------------------------

    def send(self, frames: Sequence[Buffer]) -> int:
        """Put a batch into the tx rings and have the kernel send it.

        Raises FrameError, LinkClosedError, LinkError (the port only receives),
        CorruptError (the kernel has reset a ring, or another process uses it).
        """
        self.check_frames(frames)
        with self.tx_lock:
            self.check_open()
            self._check_tx()
            self._fillers = []  # their buffers are written over
            batch = frames
            if self.vnet_header:
                head = bytes(self.vnet_header)
                batch = [b"".join((head, frame)) for frame in frames]
            taken = self._put(batch)
            self.flush()
            if taken < len(batch):  # the sync may have made room
                more = self._put(batch[taken:])
                if more:
                    self.flush()
                    taken += more
                elif not taken:
                    self.check_reset()
            counters = self.counters
            counters.sent += taken
            counters.sent_bytes += sum(memoryview(f).nbytes for f in frames[:taken])
            return taken

    def _put(self, frames: Sequence[Buffer]) -> int:
        taken = 0
        for ring in self.tx:
            taken += copy_in(ring, frames[taken:] if taken else frames)
            if taken == len(frames):
                break
        return taken

    def generate(self, frame: Buffer, limit: int) -> int:
        """Send ``frame`` up to ``limit`` times; return how often.

        The buffers are filled once, and again only where the kernel says that
        it has changed them: meant to be called again and again with the same
        frame. Raises as `send` does.
        """
        with self.tx_lock:
            self.check_open()
            if not self._fillers or self._fillers[0].source is not frame:
                self.check_frames([frame])
                self._check_tx()
                prefix = bytes(self.vnet_header)
                self._fillers = [Filler(ring, frame, prefix) for ring in self.tx]
            taken = 0
            for filler in self._fillers:
                while taken < limit and (sent := filler.send(limit - taken)):
                    taken += sent
            self.flush()
            if not taken:
                self.check_reset()
            counters = self.counters
            counters.sent += taken
            counters.sent_bytes += taken * memoryview(frame).nbytes
            return taken

    def flush(self) -> None:
        """Have the kernel look at the tx rings (NIOCTXSYNC)."""
        if self.port.csb is None:
            fcntl.ioctl(self.port.fd, NIOCTXSYNC)

    def _check_tx(self) -> None:
        if not self.tx:
            cause = "the port only receives (a monitor, or opened with /R)"
            raise LinkError(self.linkstr, cause, "send by another port")

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take copies of frames.

        Raises LinkClosedError, LinkError (the port only sends, or its interface
        has gone), CorruptError.
        """
        return self._take(self._copies, limit, timeout)

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`, but lends netmap's buffers; a frame of several is copied."""
        return self._take(self._views, limit, timeout)

    def count(self, limit: int = BATCH, timeout: float | None = None) -> int:
        """Take frames without looking at them; return how many slots they had."""
        return self._take(self._count, limit, timeout)

    def _take(self, look: Callable[[int], T], limit: int, timeout: float | None) -> T:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self.check_open()
            if not self.rx:
                cause = "the port only sends (opened with /T)"
                raise LinkError(self.linkstr, cause, "receive by another port")
            self.give_back()
            found = look(limit)
            deadline = None if timeout is None else time.monotonic() + timeout
            while not found:
                left = None if deadline is None else deadline - time.monotonic()
                over = left is not None and left <= 0
                if over or self.busy:
                    self.sync()
                else:
                    self._wait.wait(left)
                self.check_open()
                found = look(limit)
                if over:
                    break
            return found

    def sync(self) -> None:
        """Have the kernel look at the rx rings (NIOCRXSYNC).

        In CSB mode it does so by itself; what it tells `fileno` is reset instead.
        """
        csb = self.port.csb
        if csb is None:
            fcntl.ioctl(self.port.fd, NIOCRXSYNC)
        elif csb.failure is not None:
            raise csb.failure
        elif self._polled:
            csb.ask()

    def give_back(self) -> None:
        """Take back what the last call lent."""
        if self._lent:
            for view in self._lent:
                view.release()
            self._lent = []
            for ring in self.rx:
                ring.release()

    def _each(self, look: Callable[[Ring, int], int], limit: int) -> int:
        """Look at the rx rings, another one first each time, until the limit."""
        count, done = len(self.rx), 0
        first = self._turn
        self._turn = (first + 1) % count
        for number in range(first, first + count):
            done += look(self.rx[number % count], limit - done)
            if done >= limit:
                break
        return done

    def _count(self, limit: int) -> int:
        done = self._each(Ring.advance, limit)
        self.counters.received += done
        return done

    def _copies(self, limit: int) -> list[bytes]:
        frames: list[bytes] = []

        def look(ring: Ring, most: int) -> int:
            some = copy_out(ring, most)
            frames.extend(some)
            return len(some)

        self._each(look, limit)
        if self.vnet_header:
            size, end = VNET_HEADER.size, self.vnet_header
            frames = [complete(frame[:size] + frame[end:]) for frame in frames]
        self._received(frames)
        return frames

    def _views(self, limit: int) -> Sequence[Buffer]:
        if self.vnet_header:  # what is missing in a frame is filled in a copy
            return self._copies(limit)
        frames: list[Buffer] = []

        def look(ring: Ring, most: int) -> int:
            some = views(ring, self._octets, most)
            self._lent += some
            frames.extend(some)
            return len(some)

        if not self._each(look, limit):
            return self._copies(limit)  # a frame of several slots may be next
        self._received(frames)
        return frames

    def _received(self, frames: Sequence[Buffer]) -> None:
        counters = self.counters
        counters.received += len(frames)
        counters.received_bytes += sum(map(len, frames))  # type: ignore[arg-type]

    def fileno(self) -> int:
        """Readable when `recv` would not wait.

        In CSB mode an eventfd, which a `recv` that finds nothing resets.
        """
        self.check_open()
        if not self._polled:
            self._polled = True
            self._wait.arm()
        return self._wait.fd

    # -- resets --------------------------------------------------------------

    def check_reset(self) -> None:
        """Raise the error that poll(2) tells of where no frame went out."""
        if self.port.csb is None:
            poll = select.poll()
            poll.register(self.port.fd, select.POLLOUT)
            if any(events & select.POLLERR for _, events in poll.poll(0)):
                raise self._wait.error()

    # -- the end -------------------------------------------------------------

    def _wake(self) -> None:
        self._wait.wake()

    def _release(self) -> None:
        for view in self._lent:
            view.release()
        self._octets.release()
        self.port.close()
        self._wait.close()
