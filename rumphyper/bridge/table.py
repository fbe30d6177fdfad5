"""Which address lives behind which port: what a learning bridge has seen.

No I/O and no clock of its own: times are seconds that the caller gives.
"""

from __future__ import annotations

AGEING = 300.0
"""Seconds until an address that is silent is forgotten (IEEE 802.1D, 7.9.2)."""

MOST = 16384
"""Addresses that are kept at most; a storm of invented ones stops there."""

SWEEP = 1.0
"""Seconds between two looks for old entries while the table is full."""


class AddressTable:
    """Addresses and the port that each was last seen at.

    A key is 6 octets, or more where VLANs are kept apart. When the table is
    full new addresses are not learnt, and frames to them are flooded.
    """

    def __init__(self, ageing: float = AGEING, most: int = MOST) -> None:
        self.moves = 0
        """How often an address was seen at another port than before."""

        self.unlearnt = 0
        """How often an address was not learnt as the table was full."""

        self._ageing = ageing
        self._most = most
        self._places: dict[bytes, tuple[int, float]] = {}
        self._swept = float("-inf")

    def __len__(self) -> int:
        return len(self._places)

    def learn(self, key: bytes, port: int, now: float) -> None:
        """Note that ``key`` has sent a frame at ``port``."""
        before = self._places.get(key)
        if before is None:
            if len(self._places) >= self._most and not self._make_room(now):
                self.unlearnt += 1
                return
        elif before[0] != port and now - before[1] <= self._ageing:
            self.moves += 1
        self._places[key] = (port, now)

    def find(self, key: bytes, now: float) -> int | None:
        """The port behind which ``key`` lives; None when nobody knows."""
        place = self._places.get(key)
        if place is None:
            return None
        port, seen = place
        return port if now - seen <= self._ageing else None

    def forget(self, port: int) -> None:
        """Drop every address of a port: what was behind it may be elsewhere now."""
        self._places = {k: at for k, at in self._places.items() if at[0] != port}

    def expire(self, now: float) -> None:
        """Drop what is too old to be found any more."""
        oldest = now - self._ageing
        self._places = {k: at for k, at in self._places.items() if at[1] >= oldest}

    def _make_room(self, now: float) -> bool:
        """Drop old entries, once in a while; whether there is room then."""
        if now - self._swept >= SWEEP:
            self._swept = now
            self.expire(now)
        return len(self._places) < self._most
