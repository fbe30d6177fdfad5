"""What the tests of the bus lock share."""

from __future__ import annotations

from rumphyper.link.shmif import ShmifLink
from rumphyper.ring.shmif import LOCK_WORD, SPARE_WORD, Bus

FRAME = bytes(60)
LOCK = "rumphyper.link.shmif_lock"


def drain(link: ShmifLink) -> list[bytes]:
    """All frames that are there."""
    got: list[bytes] = []
    while more := link.recv(limit=1000, timeout=0):
        got += more
    return got


def set_lock(bus: Bus, value: int, mark: int) -> None:
    """Set the lock and who holds it, as another end would."""
    bus.words[SPARE_WORD] = mark
    bus.words[LOCK_WORD] = value
