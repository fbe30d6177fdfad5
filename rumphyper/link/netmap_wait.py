"""Waiting for frames of a netmap port, and what it means when poll(2) fails.

The kernel's poll also syncs the rings. That it has reset one, because indices
or a slot in it were wrong, it tells by POLLERR only. Facts: netmap netmap.c
(netmap_poll, netmap_ring_reinit).
"""

from __future__ import annotations

import os
import select
import sys

from rumphyper.errors import CorruptError, LinkError, RumphyperError
from rumphyper.link.netmap_port import Port
from rumphyper.ring.netmap_frames import slots

ONE = (1).to_bytes(8, sys.byteorder)


def _bell() -> tuple[int, int]:
    """A descriptor to poll and one to write to."""
    if hasattr(os, "eventfd"):
        event = os.eventfd(0, os.EFD_CLOEXEC)
        return event, event
    return os.pipe()


class Wait:
    """Waits for a port's frames in a way that `wake` ends."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._csb = port.csb
        self.fd = port.fd if port.csb is None else port.csb.event
        self._ends = _bell()
        self._poll = select.poll()
        self._poll.register(self.fd, select.POLLIN)
        self._poll.register(self._ends[0], select.POLLIN)

    def wait(self, timeout: float | None) -> None:
        """Wait until frames came, `wake` was called or ``timeout`` seconds are over.

        Raises what `error` says when the kernel reports an error.
        """
        csb = self._csb
        if csb is not None:
            if csb.failure is not None:
                raise csb.failure
            csb.ask()
            if self._there():
                return
        for fd, events in self._poll.poll(
            None if timeout is None else max(0, int(timeout * 1000) + 1)
        ):
            if fd == self.fd and events & (select.POLLERR | select.POLLNVAL):
                raise self.error()

    def _there(self) -> bool:
        """Whether there are frames that the kernel has synced already."""
        rings = self._port.face.rings
        return any(ring.available() for ring in rings if not ring.is_tx)

    def arm(self) -> None:
        """In CSB mode: make the descriptor readable now, or when frames come."""
        if self._csb is not None:
            self._csb.ask()
            if self._there():
                os.eventfd_write(self._csb.event, 1)

    def error(self) -> RumphyperError:
        """What an error of poll(2) means: the ring and the value, where they tell."""
        try:
            for ring in self._port.face.rings:
                count = ring.available()
                if count:
                    ring.limits.numbers(slots(ring, count))
        except CorruptError as error:
            return error
        return LinkError(
            self._port.linkstr,
            "the kernel has reset a ring, or the port's interface has gone",
            "open the port again; the kernel's log (dmesg) names the slot",
        )

    def wake(self) -> None:
        """End every wait, now and from now on."""
        os.write(self._ends[1], ONE)

    def close(self) -> None:
        """Close what is owned here; nobody may wait any more. Idempotent."""
        ends, self._ends = self._ends, (-1, -1)
        for end in set(ends) - {-1}:
            os.close(end)
