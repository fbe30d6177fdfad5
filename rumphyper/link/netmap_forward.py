"""Forwarding between two netmap links of one memory region: descriptors move.

No octet of a frame is copied or looked at, so frames with virtio-net headers
go as they are, and links with headers of different sizes do not fit together.
"""

from __future__ import annotations

from rumphyper.errors import LinkError
from rumphyper.link.netmap_link import NetmapLink
from rumphyper.ring.netmap_swap import swapper

BATCH = 1024


def one_region(source: NetmapLink, target: NetmapLink) -> bool:
    """Whether frames can go from one link to the other without a copy."""
    return source.port.region is target.port.region


class Forwarder:
    """Moves what arrives at ``source`` to ``target``, in that direction only.

    Nobody else receives from the one or sends to the other meanwhile. Raises
    LinkError where the two are of different regions or one of them does not
    receive or send.
    """

    def __init__(self, source: NetmapLink, target: NetmapLink) -> None:
        name = f"{source.linkstr} and {target.linkstr}"
        if source.port.region is not target.port.region:
            cause = "their buffers are in different memory regions"
            remedy = "open both with one @memid, or copy the frames"
            raise LinkError(name, cause, remedy)
        if source.vnet_header != target.vnet_header:
            cause = "their frames have virtio-net headers of different sizes"
            raise LinkError(name, cause, "open both with one vnet_header")
        if not source.rx or not target.tx:
            cause = "the first does not receive, or the second does not send"
            raise LinkError(name, cause, "open them without /R, /T, /r and /t")
        self._source = source
        self._target = target
        # What is in the slots of a pipe's rx ring another process has written.
        exact = source.port.name.pipe
        self._moves = [
            [swapper(rx, tx, exact=exact) for tx in target.tx] for rx in source.rx
        ]
        self._first = 0
        one = len(source.rx) == len(target.tx) == 1
        self._swap = self._moves[0][0] if one else self._in_turn

    def move(self, limit: int = BATCH) -> int:
        """Move up to ``limit`` slots that are there; return how many.

        The kernel is asked for frames before and sends them after. What has no
        room stays where it is. Raises LinkClosedError, CorruptError.
        """
        source, target = self._source, self._target
        with source.rx_lock, target.tx_lock:
            source.check_open()
            target.check_open()
            source.give_back()
            source.sync()
            done = self._swap(limit)
            if done:
                target.flush()
            elif any(ring.available() for ring in source.rx):
                target.flush()  # no room: what was sent since may have made some
                done = self._swap(limit)
                if done:
                    target.flush()
                else:
                    target.check_reset()
            source.counters.received += done
            target.counters.sent += done
            return done

    def _in_turn(self, limit: int) -> int:
        """Swap slots of all rings, another one's first each time."""
        done = 0
        count = len(self._moves)
        self._first = (self._first + 1) % count
        for number in range(self._first, self._first + count):
            for swap in self._moves[number % count]:
                done += swap(limit - done)
        return done


def forward(source: NetmapLink, target: NetmapLink, limit: int = BATCH) -> int:
    """Move frames that have arrived at one link to the other: one batch.

    Returns how many slots went; for many batches make one `Forwarder`. Raises
    what it raises.
    """
    return Forwarder(source, target).move(limit)
