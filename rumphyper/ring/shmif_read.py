"""Reading a shmif bus: by a holder of its lock, or by a watcher without it.

Readers copy a stretch of the bus at once and take the frames out of the copy,
so that the lock is held for one copy, not for a loop over packets, and nobody
can change what has been checked.

A watcher may map the bus read-only, as NetBSD's shmif_dumpbus does, but tells
what it can trust by two facts that hold for our writers and for the C driver's:

* When the lock is free between two readings of the same state (generation,
  first, last), every packet up to the newest of that state is complete.
* A writer moves ``first`` past a packet before it overwrites it. So what was
  copied is intact from the ``first`` on that is read after the copy.

The second needs stores and loads to be seen in order. x86 does that; on other
machines the interpreter's own work between two loads, hundreds of
instructions, stands in for the barrier that Python does not have.
"""

from __future__ import annotations

from rumphyper.errors import CorruptError
from rumphyper.ring.shmif import (
    CHUNK,
    DATA_SIZE,
    FIRST_WORD,
    LAST_WORD,
    LOCK_WORD,
    Bus,
)

State = tuple[int, int, int]
"""Generation, first and last."""
Stretch = tuple[int, bytes, bool]
"""Where a copy starts, the copy, and whether there is more behind it.

The copy is empty at the end of the bus. It starts later than asked when the
bus has lapped the reader. When there is more, its last packet may be cut off.
"""


def take(bus: Bus, position: int, limit: int = CHUNK) -> Stretch:
    """Copy at most ``limit`` octets from ``position`` on, holding the lock.

    CorruptError.
    """
    end, start, copy = _copy(bus, bus.state, position, limit)
    return start, copy, start + len(copy) < end


def _copy(bus: Bus, state: State, position: int, limit: int) -> tuple[int, int, bytes]:
    """The end of the bus, where the copy starts, and the copy."""
    end = bus.end(state)
    if position == end:
        return end, position, b""
    start = max(position, bus.oldest(end, state[1]))
    if start > end:
        rule = f"it was {position // DATA_SIZE:#x} and never goes back"
        raise bus.corrupt("generation", state[0], rule)
    return end, start, bus.octets(start % DATA_SIZE, min(end - start, limit))


def settled(bus: Bus) -> State | None:
    """The state of the bus between two writers, without the lock.

    None while a writer is at work: try again.
    """
    state = bus.state
    return state if not bus.words[LOCK_WORD] and bus.state == state else None


def peek(bus: Bus, state: State, position: int, limit: int = CHUNK) -> Stretch | None:
    """Like `take` without the lock: copy what was there at ``state``.

    ``state`` comes from `settled`. Only octets that nobody has touched since
    are returned; the copy may be empty though there is more. None when the
    bus has moved too far to tell: get a new state.
    """
    try:
        end, start, copy = _copy(bus, state, position, limit)
    except CorruptError:
        # Of a packet that was overwritten meanwhile the length means nothing.
        if bus.state != state:
            return None
        raise
    intact = intact_from(bus, state, end)
    if intact is None:
        return None
    if intact > start:
        return intact, copy[intact - start :], True
    return start, copy, start + len(copy) < end


def intact_from(bus: Bus, state: State, end: int) -> int | None:
    """From which position on nothing has been touched since ``state``.

    ``end`` is the end of the bus at that time. None when too much has happened
    to tell.
    """
    first, last = bus.words[FIRST_WORD], bus.words[LAST_WORD]
    # Read last: an old generation with new offsets would hide a whole lap.
    laps = bus.generation - state[0]
    moved = (last - state[2]) % DATA_SIZE
    if moved > DATA_SIZE // 2 or laps != (1 if last < state[2] else 0):
        return None
    return bus.oldest(end, state[1]) + (first - state[1]) % DATA_SIZE


def glance(bus: Bus, position: int) -> tuple[State, int] | None:
    """The state and the end of the bus, when all from ``position`` on is at hand.

    That is, if nobody is writing, the reader has not been lapped, nothing is
    wrong and what there is to read does not reach around the end of the data:
    then it may be read where it lies, and counts if `intact_from` says so.
    None: use `peek` or `take`.
    """
    state = settled(bus)
    if state is None:
        return None
    try:
        end = bus.end(state)
        oldest = bus.oldest(end, state[1])
    except CorruptError:
        return None
    if oldest <= position <= end and position % DATA_SIZE + end - position < DATA_SIZE:
        return state, end
    return None
