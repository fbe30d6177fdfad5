"""Waiting for frames on a port that one has to ask: spin, then sleep.

Who waits asks again and again for a moment. Then, where the driver has interrupts,
it sleeps until there is one; elsewhere it sleeps for a moment that doubles up to
a millisecond. An event of a card is only relied on once it has come: where the
card has one vector for everything, EAL's own thread takes the events.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import threading
import time

from rumphyper.dpdk.port import Port
from rumphyper.errors import HostError
from rumphyper.host import tun
from rumphyper.link.waiter import Waiter

SHORTEST, LONGEST = 0.00005, 0.001
"""Seconds of sleep where there are no interrupts."""

ASIDE = 0.1
"""Seconds after which a receiver looks whether somebody else wants the port."""


class Wait:
    """How one reader waits. ``spin`` is in seconds, how long it asks at first."""

    def __init__(self, port: Port, queues: int, spin: float) -> None:
        self._port = port
        self._queues = range(queues)
        self._spin = spin
        # It is never readable, and stands in where there are no interrupts.
        self._idle = os.eventfd(0, os.EFD_CLOEXEC)
        self._waiter = Waiter(self._idle)
        self.fd = -1
        """The interrupt's descriptor, or -1 where there is none."""

        self._tap = -1
        self._signal = 0
        """What tells the driver that there are frames. net_tap does not look before,
        and who gets the signal may not run for long: so it is sent once more."""

        self._is_event = False
        self._trusted = False
        self._fired = False
        self._until = 0.0
        self._pause = SHORTEST
        self._armed = False

    def attach(self) -> None:
        """Use the port's interrupt, once the port has been started."""
        fd = _interrupt_fd(self._port)
        place = os.readlink(f"/proc/self/fd/{fd}") if fd >= 0 else ""
        if place == tun.CLONE:
            self._tap = fd
        if fd >= 0 and len(self._queues) == 1:
            self.fd = self._waiter.fd = fd
            self._is_event = "eventfd" in place
            self._trusted = not self._is_event
            self._signal = fcntl.fcntl(fd, fcntl.F_GETSIG)

    @property
    def always_on(self) -> bool:
        """Whether the descriptor is readable as long as there are frames."""
        return self.fd >= 0 and not self._is_event

    @property
    def ended(self) -> bool:
        """Whether the port was a TAP that somebody has deleted: net_tap goes on."""
        try:
            return self._tap >= 0 and tun.flags(self._tap, "TAP of a port") < 0
        except HostError:
            return True

    def detach(self) -> None:
        """Do without it: a port that is stopped may close it."""
        self.fd, self._waiter.fd = -1, self._idle
        self._tap, self._signal = -1, 0

    def begin(self) -> None:
        """Start to wait: nothing was there at the first look."""
        self._until = time.monotonic() + self._spin
        self._pause = SHORTEST

    def pause(self, left: float | None) -> None:
        """Let some time pass between two looks, at most ``left`` seconds."""
        if time.monotonic() < self._until:
            return
        if self.fd < 0:
            pause = self._pause
            self._pause = min(2 * pause, LONGEST)
            self._waiter.wait(pause if left is None else min(pause, left))
        elif not self._armed:
            self._switch(True)  # and look once more: something may have come
        else:
            longest = ASIDE if self._trusted else LONGEST
            there = self._waiter.wait(longest if left is None else min(longest, left))
            if there and self._signal:
                signal.pthread_kill(threading.get_ident(), self._signal)
            self._fired = self._is_event and _take_event(self.fd)
            if self._fired:
                self._trusted = True
            self._armed = False  # it masks itself

    def end(self, found: bool) -> None:
        """Nobody waits any more; whether there was a frame."""
        if found and self._is_event and not self._fired:
            self._trusted = False
        self._fired = False
        if self._armed and self.fd >= 0:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        """Switch the interrupt on or off; drivers whose is always on refuse."""
        self._armed = on
        word = "enable" if on else "disable"
        switch = getattr(self._port.eal.lib, f"rte_eth_dev_rx_intr_{word}")
        for queue in self._queues:
            switch(self._port.number, queue)

    def wake(self) -> None:
        """End every wait, now and from now on."""
        self._waiter.wake()

    def close(self) -> None:
        """Free what waiting needs; nobody may wait any more."""
        self._waiter.close()
        os.close(self._idle)


def _take_event(fd: int) -> bool:
    """Whether an event has come; it is taken."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(0):
        return False
    with contextlib.suppress(BlockingIOError):  # EAL's own thread was faster
        os.eventfd_read(fd)
    return True


def _interrupt_fd(port: Port) -> int:
    number: int = port.eal.lib.rte_eth_dev_rx_intr_ctl_q_get_fd(port.number, 0)
    return max(number, -1)
