"""From one DPDK link to another: mbufs change their owner, no octet is copied."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rumphyper.link.dpdk_link import DpdkLink

_WORD = 8


class Mover:
    """Moves what arrives at ``source`` to ``target``, in that direction only.

    Frames are counted, octets are not: nobody looks at them.
    """

    def __init__(self, source: DpdkLink, target: DpdkLink) -> None:
        self._source = source
        self._target = target

    @classmethod
    def between(cls, source: DpdkLink, target: DpdkLink) -> Mover | None:
        """One, or None where frames can be too long for the target, or several mbufs.

        Neither is known without a look at them.
        """
        fits = source.max_frame <= min(target.max_frame, source.rx_pool.room)
        return cls(source, target) if fits and len(source.rx) == 1 else None

    def move(self, limit: int) -> tuple[int, Sequence[bytes]]:
        """Move up to ``limit`` frames; how many went, and copies of those that did not.

        Those are for the caller: the target had no room, or a thread had received
        them already. Raises LinkClosedError, LinkEndedError for the source.
        """
        source, target = self._source, self._target
        with source.rx_lock, target.tx_lock:
            found = source.found(limit)
            if found or not source.rx:
                return 0, found
            if target.closed or not target.tx:
                return 0, source.recv(limit, timeout=0)
            receiver, sender = source.rx[0], target.tx[0]
            came = receiver.receive(min(limit, len(sender.mbufs.array)))
            if not came:
                source.look_on()
                return 0, ()
            octets = _WORD * came
            ctypes.memmove(sender.mbufs.address, receiver.mbufs.address, octets)
            receiver.held = 0
            kept, went = sender.offer(came)
            rest = sender.mbufs.array[went:kept]
            frames = receiver.reader.copies(rest)
            sender.mbufs.free(went, kept)
            source.counters.received += came
            target.counters.sent += went
            return came - len(frames), frames
