"""``packet:IF``: frames of an interface of the host by an AF_PACKET socket.

The link is beside the host's own stack: both get what arrives. See docs/packet.md.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Sequence
from typing import Literal, cast

from typing_extensions import Buffer

from rumphyper.errors import (
    FrameError,
    LinkEndedError,
    LinkError,
    LinkstrError,
)
from rumphyper.host.netns import Netns
from rumphyper.link.base import BATCH, ETHER_HEADER, VLAN_TAG
from rumphyper.link.octets import (
    OctetLink,
    StrangeBufferError,
    check_types,
    sizes_of,
    total,
)
from rumphyper.link.packet_mmsg import MOST, Inbox, Outbox
from rumphyper.link.packet_ring import RingBox
from rumphyper.link.packet_socket import check_interface, drops, open_socket
from rumphyper.link.station import station
from rumphyper.link.surplus import Surplus
from rumphyper.link.waiter import Waiter
from rumphyper.net.ethernet import VLAN
from rumphyper.ring.slots import STRANGE

Io = Literal["mmsg", "ring"]

BUFFER = 8 << 20
"""Octets of frames that wait to be received, by default."""

FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EINTR)
_TAG = VLAN.to_bytes(2, "big")
"""The only one for which the kernel lets a frame be longer (packet_snd)."""


class PacketLink(OctetLink):
    """One packet socket on one interface."""

    def __init__(
        self, name: str, end: socket.socket, mac: bytes, mtu: int, io: Io, octets: int
    ) -> None:
        """Take over ``end``, which is closed even when this fails."""
        super().__init__(f"packet:{name}", mac, mtu)
        self.name = name
        self.io: Io = io
        self._end = end
        with contextlib.ExitStack() as held:
            held.callback(end.close)
            self._waiter = Waiter(end.fileno())
            held.callback(self._waiter.close)
            self._surplus = Surplus(end.fileno())
            held.callback(self._surplus.close)
            self._out = Outbox(end.fileno(), self.max_frame)
            held.callback(self._out.close)
            self._in: Inbox | RingBox
            if io == "ring":
                self._in = RingBox(self.linkstr, end, octets)
            else:
                self._in = Inbox(end.fileno())
            held.callback(self._in.close)
            self._held = held.pop_all()

    # -- sending -------------------------------------------------------------

    def _send(self, frames: Sequence[Buffer]) -> int:
        sizes = sizes_of(self, frames, self.max_frame)
        if sizes and max(sizes) > self.mtu + ETHER_HEADER:
            self._check_tags(frames, sizes)
        if len(sizes) > MOST:
            check_types(frames)  # while none of them has gone out
        taken = 0
        while taken < len(sizes):
            part = slice(taken, taken + MOST)
            try:
                done, number = self._out.send(frames[part], sizes[part])
            except STRANGE:
                raise StrangeBufferError from None
            taken += done
            if number and number not in FULL and not taken:
                raise self._failed(number)
            if number or not done:
                break
        self.counters.sent += taken
        self.counters.sent_bytes += total(sizes[:taken])
        return taken

    def _check_tags(self, frames: Sequence[Buffer], sizes: Sequence[int]) -> None:
        """A frame may be longer than the MTU allows by its VLAN tag only."""
        most = self.mtu + ETHER_HEADER
        for index, (frame, size) in enumerate(zip(frames, sizes, strict=True)):
            if size > most and bytes(memoryview(frame)[12:14]) != _TAG:
                raise FrameError(
                    self.linkstr,
                    f"frame {index} of the batch has {size} octets and no 802.1Q "
                    f"tag, the link carries {most}, with a tag {most + VLAN_TAG}",
                    "cut the frame or raise the MTU",
                )

    # -- receiving -----------------------------------------------------------

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Take frames that came in by the interface.

        Raises LinkClosedError, LinkError (the interface is down; a later call
        waits for it to come up), LinkEndedError (it was deleted).
        """
        return cast("list[bytes]", self._take(limit, timeout, False))

    def recv_views(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> Sequence[Buffer]:
        """Like `recv`, but lends the socket's buffers."""
        return self._take(limit, timeout, True)

    def _take(self, limit: int, timeout: float | None, views: bool) -> Sequence[Buffer]:
        if limit < 1:
            raise ValueError("limit is the number of frames, at least 1")
        with self.rx_lock:
            self.check_open()
            if self._surplus:
                return self._surplus.take(limit)
            frames = self._look(limit, views)
            deadline = None if timeout is None else time.monotonic() + timeout
            left = timeout
            while not frames and left != 0 and self._waiter.wait(left):
                self.check_open()
                frames = self._look(limit, views)
                if deadline is not None:
                    left = max(0.0, deadline - time.monotonic())
            if len(frames) > limit:  # some were several in one
                self._surplus.put(frames[limit:])
                frames = frames[:limit]
            return frames

    def _look(self, limit: int, views: bool) -> Sequence[Buffer]:
        """Take what is there; the socket's error when nothing is."""
        try:
            frames, lost, drained = self._in.recv(limit, views)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise self._failed(error.errno or 0) from None
            # One that the kernel could not describe by a virtio-net header.
            frames, lost, drained = [], 1, False
        if not frames and self.io == "ring":
            number = self._end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise self._failed(number)
        counters = self.counters
        # Nobody waits for this answer when there is nothing else to do.
        if not frames or not drained:
            lost += drops(self._end)
        counters.dropped += lost
        counters.received += len(frames)
        counters.received_bytes += sum(map(len, cast("list[bytes]", frames)))
        return frames

    def fileno(self) -> int:
        """Readable when `recv` would not wait."""
        self.check_open()
        return self._surplus.fileno()

    # -- errors and the end --------------------------------------------------

    def _failed(self, number: int) -> LinkError:
        """The error that an errno of sending or receiving means."""
        if number in (errno.ENETDOWN, errno.ENXIO, errno.ENODEV):
            if not self._end.getsockname()[0]:
                cause = f"the interface {self.name} was deleted"
                return LinkEndedError(self.linkstr, cause, "open it again")
            remedy = f"bring it up: `ip link set {self.name} up`"
            return LinkError(self.linkstr, "the interface is down", remedy)
        if number == errno.EMSGSIZE:
            cause = "a frame is longer than the interface's MTU now allows"
            return FrameError(self.linkstr, cause, "open the link again")
        return LinkError(self.linkstr, os.strerror(number), "see packet(7)")

    def _wake(self) -> None:
        self._waiter.wake()

    def _release(self) -> None:
        self.counters.dropped += drops(self._end)
        self._held.close()


def open_packet(
    name: str,
    /,
    *,
    mac: bytes | str | None = None,
    netns: Netns | None = None,
    io: Io = "mmsg",
    up: bool = False,
    promiscuous: bool = True,
    outgoing: bool = False,
    qdisc_bypass: bool = False,
    buffer: int = BUFFER,
) -> PacketLink:
    """Open a packet socket on the interface ``name``.

    ``mac`` is the address of the station at this end (random). ``netns`` is the
    network namespace of the interface. ``io`` is ``mmsg`` (recvmmsg) or ``ring``
    (TPACKET_V3). ``up`` brings the interface up. ``promiscuous`` lets in frames
    for other stations, ``outgoing`` also those that the host itself sends.
    ``qdisc_bypass`` sends past queueing and past other packet sockets.
    ``buffer`` is how many octets wait at most.

    Raises LinkstrError (a name or option that cannot be right), HostError (no
    such interface, down, not permitted), UnsupportedError (not Ethernet).
    """
    linkstr = f"packet:{name}"
    check_interface("packet", name)
    if io not in ("mmsg", "ring"):
        raise LinkstrError(linkstr, f"io={io!r}", "mmsg or ring")
    if not 1 << 12 <= buffer <= 1 << 30:
        raise LinkstrError(linkstr, f"buffer={buffer}", "4 KiB to 1 GiB")
    here = station(linkstr, mac)
    end, mtu = open_socket(
        name,
        netns,
        up=up,
        promiscuous=promiscuous,
        outgoing=outgoing,
        bypass=qdisc_bypass,
        octets=buffer,
        ring=io == "ring",
    )
    return PacketLink(name, end, here, mtu, io, buffer)
