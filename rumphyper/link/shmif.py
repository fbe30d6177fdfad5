"""``shmif:PATH``: NetBSD's shared-memory Ethernet bus as a link.

The other users of the bus may be rump kernels (``ifconfig shmif0 linkstr
PATH``), other processes of this package, or both. See docs/shmif.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TypeVar, cast

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError, LinkError, LinkstrError
from rumphyper.link.base import BATCH, ETHER_HEADER, ETHER_MTU, Link
from rumphyper.link.shmif_alarm import Alarm
from rumphyper.link.shmif_file import BusFile, open_bus_file
from rumphyper.link.shmif_gather import flush_all
from rumphyper.link.shmif_inbox import Inbox, LockedFetch, Splitter, WatcherFetch
from rumphyper.link.shmif_lock import BusLock
from rumphyper.link.shmif_outbox import NotPlainError, Outbox
from rumphyper.net.mac import parse_mac, random_mac
from rumphyper.ring.shmif import MAX_LENGTH, Bus
from rumphyper.ring.shmif_frames import Packet, split, split_packets

T = TypeVar("T")


class ShmifLink(Link):
    """One interface on a shmif bus, or a watcher of it.

    A watcher (``readonly``) maps the bus read-only and never takes its lock.
    ``counters.dropped`` counts how often the bus has lapped this end: how many
    frames were lost each time nobody knows.
    """

    def __init__(
        self,
        file: BusFile,
        bus: Bus,
        *,
        mac: bytes,
        mtu: int,
        readonly: bool,
        from_start: bool,
        follow: bool,
        gather: bool,
    ) -> None:
        super().__init__(f"shmif:{file.path}", mac, mtu)
        self.readonly = readonly
        self._file = file
        self._bus = bus
        self._lock: BusLock | None = None
        self._outbox: Outbox | None = None
        own = None
        fetch: LockedFetch | WatcherFetch
        if readonly:
            fetch = WatcherFetch(file, bus, self.check_open)
        else:
            self._lock = BusLock(file, bus, self.check_open)
            self._outbox = Outbox(file, bus, self._lock, self.tx_lock, gather)
            own = self._outbox.sender
            fetch = LockedFetch(bus, self._lock)
        try:
            state = fetch.attach()
            end = bus.end(state)
            start = bus.oldest(end, state[1]) if from_start else end
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise
        stop = None if follow else end
        self._inbox = Inbox(bus, file.check_size, fetch, own, start, stop)
        if self._lock is not None:
            self._lock.known_end = lambda: self._inbox.position
        self._alarm = Alarm(file)

    @property
    def max_frame(self) -> int:
        """MTU and Ethernet header; the C driver has no room for a VLAN tag."""
        return self.mtu + ETHER_HEADER

    @property
    def sender(self) -> int:
        """The 64 bits that mark this end's packets on the bus; 0 for a watcher."""
        return 0 if self._outbox is None else self._outbox.sender

    @property
    def taken_over(self) -> int:
        """How often this end took the lock over from a holder that had died."""
        return 0 if self._lock is None else self._lock.taken_over

    def send(self, frames: Sequence[Buffer]) -> int:
        """Put a batch on the bus; all of it, there is always room.

        Whoever has not read what it overwrites is lapped. Lone frames that
        follow each other without a pause are gathered: see docs/shmif.md.
        FrameError, LinkClosedError, CorruptError, LinkError, HostError.
        """
        with self.tx_lock:
            if self._closed:
                self.check_open()
            outbox = self._outbox
            if outbox is None:
                cause = "it is open read-only"
                raise LinkError(self.linkstr, cause, "open it without readonly")
            count = len(frames)
            if count == 1 and type(frames[0]) is bytes:
                total = len(frames[0])
                if not ETHER_HEADER <= total <= self.mtu + ETHER_HEADER:
                    self.check_frames(frames)
                outbox.add(frames[0])
            elif count:
                total = self._send_batch(outbox, frames)
            else:
                return 0
            counters = self.counters
            counters.sent += count
            counters.sent_bytes += total
            return count

    def _send_batch(self, outbox: Outbox, frames: Sequence[Buffer]) -> int:
        """Send frames of any type; returns the sum of their sizes."""
        # Passes over a batch are what it costs, so it is taken for one of bytes
        # until something shows that it is not.
        octets = cast("Sequence[bytes]", frames)
        try:
            sizes = list(map(len, octets))
            distinct = set(sizes)
            longest = max(distinct)
            if min(distinct) >= ETHER_HEADER and longest <= self.mtu + ETHER_HEADER:
                return outbox.put_all(octets, sizes, longest, len(distinct) == 1)
        except (NotPlainError, TypeError):
            pass
        octets = [memoryview(frame).tobytes() for frame in frames]
        self.check_frames(octets)
        sizes = list(map(len, octets))
        return outbox.put_all(octets, sizes, max(sizes), len(set(sizes)) == 1)

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Return frames that others have sent; never this end's own.

        LinkClosedError, LinkEndedError, CorruptError, LinkError, HostError.
        """
        frames = self._receive(split, limit, timeout)
        counters = self.counters
        counters.received += len(frames)
        counters.received_bytes += sum(map(len, frames))
        return frames

    def recv_packets(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> list[Packet]:
        """Like `recv`, with the stamp and the sender of each frame."""
        packets = self._receive(split_packets, limit, timeout)
        self.counters.received += len(packets)
        self.counters.received_bytes += sum(len(packet.frame) for packet in packets)
        return packets

    def _receive(
        self, split: Splitter[T], limit: int, timeout: float | None
    ) -> list[T]:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        flush_all()
        with self.rx_lock:
            inbox, alarm = self._inbox, self._alarm
            deadline = None
            while True:
                if self._closed:
                    self.check_open()
                alarm.before_look()
                frames = inbox.frames(split, limit)
                self.counters.dropped = inbox.laps
                if frames:
                    break
                if inbox.ended:
                    alarm.show(True)
                    raise LinkEndedError(self.linkstr, "all of the bus has been read")
                if timeout is None:
                    left = None
                elif deadline is None:
                    deadline, left = time.monotonic() + timeout, timeout
                else:
                    left = deadline - time.monotonic()
                if inbox.pending or alarm.arm():
                    if left is None or left > 0:
                        continue
                    left = 0
                if not alarm.wait(left):
                    break
            alarm.show(inbox.pending or inbox.ended)
            return frames

    def fileno(self) -> int:
        """Readable when `recv` would not wait; also after this end's own frames."""
        with self.rx_lock:
            self.check_open()
            return self._alarm.fileno()

    def close(self) -> None:
        """Send what has been gathered, wake whoever waits, free everything.

        Idempotent. Raises what `send` does when the gathered frames cannot be
        sent; the link is closed then, too.
        """
        try:
            # Not when another thread is sending: that may wait for the bus, and
            # takes along what has been gathered.
            if self._outbox is not None and self.tx_lock.acquire(blocking=False):
                try:
                    if not self._closed:
                        self._outbox.flush()
                finally:
                    self.tx_lock.release()
        finally:
            super().close()

    def _wake(self) -> None:
        self._alarm.wake()

    def _release(self) -> None:
        try:
            if self._outbox is not None:  # what a send in another thread has left
                self._outbox.flush()
        finally:
            self._alarm.close()
            if self._lock is not None:
                self._lock.close()
            self._bus.release()
            self._file.close()


def open_shmif(
    path: str,
    /,
    *,
    mac: bytes | str | None = None,
    mtu: int = ETHER_MTU,
    readonly: bool = False,
    from_start: bool | None = None,
    follow: bool = True,
    gather: bool = True,
) -> ShmifLink:
    """Attach to the bus at ``path``; make it when it is not there.

    ``readonly`` only watches: no lock, no store, nothing made. ``from_start``
    begins with the oldest packet on the bus instead of with what comes next.
    ``follow=False`` reads what is on the bus now, from the start unless told
    otherwise, then raises LinkEndedError. ``gather=False`` puts every frame on the
    bus before ``send`` returns, also in a tight loop. A ``mtu`` above 1,500 needs
    all users of the bus to have it: the C driver does not survive longer frames.

    Raises HostError (permission, full disk), CorruptError (not a bus, or a
    broken one), LinkError (its lock is not let go), LinkstrError (an option),
    UnsupportedError (no atomic operations here).
    """
    linkstr = f"shmif:{path}"
    most = MAX_LENGTH - ETHER_HEADER
    if not 1 <= mtu <= most:
        raise LinkstrError(linkstr, f"the MTU is {mtu}", f"choose one up to {most}")
    address = random_mac() if mac is None else mac
    address = parse_mac(address) if isinstance(address, str) else address
    if len(address) != 6:
        raise LinkstrError(linkstr, f"the MAC has {len(address)} octets", "give 6")
    flush_all()
    file = open_bus_file(path, readonly=readonly)
    bus = None
    try:
        bus = Bus(file.memory, path)
        if readonly or not bus.is_new:
            bus.check_kind()
        return ShmifLink(
            file,
            bus,
            mac=address,
            mtu=mtu,
            readonly=readonly,
            from_start=not follow if from_start is None else from_start,
            follow=follow,
            gather=gather,
        )
    except BaseException:
        if bus is not None:
            bus.release()
        file.close()
        raise
