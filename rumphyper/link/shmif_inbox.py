"""The receiving side of a shmif link: where it reads, and what it has read."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from mmap import mmap
from typing import TypeVar

from rumphyper.link.shmif_file import BusFile
from rumphyper.link.shmif_lock import BusLock
from rumphyper.ring.shmif import CHUNK, DATA, DATA_SIZE, Bus
from rumphyper.ring.shmif_frames import Memory, check_rest
from rumphyper.ring.shmif_read import (
    State,
    Stretch,
    glance,
    intact_from,
    peek,
    settled,
    take,
)

T = TypeVar("T")
Fetch = Callable[[int, int], Stretch]
Splitter = Callable[[Memory, int, int, int, "int | None"], "tuple[list[T], int]"]

PASSES = 16
"""Looks at the bus that find nothing but own packets, before giving way."""
LOADS_IN_ORDER = platform.machine() in ("x86_64", "AMD64", "i686")
"""Whether a reader may do without the lock: see rumphyper.ring.shmif_read."""
TRIES = 20
"""How often an interface may find a writer at work before it takes the lock."""
SPINS = 100
"""How often a watcher may, before it sleeps for `PAUSE` seconds."""
PAUSE = 0.001
STUCK_TIMEOUT = 0.5
"""Seconds until a watcher stops waiting for a writer to leave the bus."""


class Inbox:
    """Frames from ``position`` on, fetched in stretches and handed out.

    ``check`` is called before each look at the bus, and may raise.
    ``fetch(position, limit)`` copies a stretch of it: see
    `rumphyper.ring.shmif_read.take`. ``own`` is the sender to leave out, if any.
    ``stop`` is the position where there is no more to come, if there is one.
    """

    def __init__(
        self,
        bus: Bus,
        check: Callable[[], None],
        fetch: Fetch,
        own: int | None,
        position: int,
        stop: int | None,
    ) -> None:
        self._bus = bus
        self._check = check
        self._fetch = fetch
        self._own = own
        self._stop = stop
        self.position = position
        self.laps = 0
        """How often packets were overwritten before they were read."""
        self._copy = b""
        self._begin = position
        self._offset = 0
        self._cut = False
        """Whether the copy may end in the middle of a packet."""
        self._more = False
        """Whether there was more on the bus than the copy."""

    @property
    def ended(self) -> bool:
        """Whether all up to ``stop`` has been handed out."""
        stop = self._stop
        return stop is not None and self.position >= stop and not self.pending

    @property
    def pending(self) -> bool:
        """Whether looking again may find frames without anybody sending."""
        return self._more or self._offset < len(self._copy)

    def frames(self, split: Splitter[T], limit: int) -> list[T]:
        """Up to ``limit`` frames that are there, as ``split`` makes them.

        None found does not mean that there are none: see ``pending``.
        CorruptError, time and again, at a packet that breaks the format.
        """
        for _ in range(PASSES):
            if self._offset >= len(self._copy):
                self._check()
                there = self._look(split, limit)
                if there is not None:
                    if there or not self._more:
                        return there
                    continue
                if not self._refill():
                    break
            found, self._offset = split(
                self._copy, self._offset, len(self._copy), limit, self._own
            )
            if found:
                return found
            if self._offset < len(self._copy):
                self._leave_rest()
        return []

    def _look(self, split: Splitter[T], limit: int) -> list[T] | None:
        """Take frames from where they lie on the bus; None when that cannot be."""
        bus, position = self._bus, self.position
        memory = bus.memory
        there = glance(bus, position) if LOADS_IN_ORDER else None
        if there is None or not isinstance(memory, mmap):
            return None
        state, bus_end = there
        end = bus_end if self._stop is None else min(bus_end, self._stop)
        if position >= end:
            self._more = False
            return []
        begin = DATA + position % DATA_SIZE
        found, reached = split(memory, begin, begin + end - position, limit, self._own)
        intact = intact_from(bus, state, bus_end)
        if intact is None or intact > position or reached == begin:
            return None
        self.position += reached - begin
        self._more = self.position < end
        return found

    def _refill(self) -> bool:
        """Fetch the next stretch; false when there is none."""
        limit = CHUNK
        if self._stop is not None:
            limit = min(CHUNK, self._stop - self.position)
            if limit <= 0:
                self._more = False
                return False
        start, copy, more = self._fetch(self.position, limit)
        lapped = start != self.position
        if lapped:
            self.laps += 1
        self._begin, self._copy, self._offset = start, copy, 0
        self.position = start + len(copy)
        self._more = more
        self._cut = more and limit == CHUNK
        return bool(copy) or lapped

    def _leave_rest(self) -> None:
        """Go back to the packet that the end of the stretch has cut off."""
        place = self._begin + self._offset
        check_rest(self._bus, place, self._copy[self._offset :], self._cut)
        self.position, self._copy, self._offset = place, b"", 0


class LockedFetch:
    """Fetches for an interface, which may take the bus's lock.

    Where loads are seen in order it first tries as a watcher does, so that no
    writer has to wait for it.
    """

    def __init__(self, bus: Bus, lock: BusLock) -> None:
        self._bus = bus
        self._lock = lock

    def attach(self) -> State:
        """Make the bus if nobody has; its state then. CorruptError, LinkError."""
        return self._lock.run(self._attach)

    def _attach(self) -> State:
        if self._bus.is_new:
            self._bus.initialise()
        self._bus.check_kind()
        return self._bus.state

    def __call__(self, position: int, limit: int) -> Stretch:
        found = None
        if LOADS_IN_ORDER:
            for _ in range(TRIES):
                state = settled(self._bus)
                found = state and peek(self._bus, state, position, limit)
                if found:
                    break
        return found or self._lock.run(take, self._bus, position, limit)


class WatcherFetch:
    """Fetches for a watcher: read-only, without the bus's lock.

    ``check`` is called while waiting for a writer to leave, and may raise. A
    lock that stays held while nothing moves belongs to a writer that is dead
    or stopped: after `STUCK_TIMEOUT` the bus is read as it is. The newest
    packet may then be half written, if the writer was a C driver.
    """

    def __init__(self, file: BusFile, bus: Bus, check: Callable[[], None]) -> None:
        self._file = file
        self._bus = bus
        self._check = check
        self._stuck: State | None = None

    def attach(self) -> State:
        """Wait until no writer is at work; the bus's state then. CorruptError."""
        bus = self._bus
        for _ in range(SPINS):
            state = settled(bus)
            if state is not None:
                return state
        before, still = bus.state, 0.0
        while before != self._stuck:
            if bus.lock_value not in (0, 1):
                raise bus.corrupt("lock", bus.lock_value, "it is 0 or 1")
            self._check()
            time.sleep(PAUSE)
            self._file.check_size()
            state = settled(bus)
            if state is not None:
                return state
            now = bus.state
            still = still + PAUSE if now == before else 0.0
            before = now
            if still >= STUCK_TIMEOUT:
                self._stuck = now
        return before

    def __call__(self, position: int, limit: int) -> Stretch:
        while True:
            found = peek(self._bus, self.attach(), position, limit)
            if found is not None:
                return found
