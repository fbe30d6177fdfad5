"""Where frames go: learning bridge, hub, patch. No I/O.

A mode sorts a batch of frames that arrived at one port into batches for others,
in the order in which they came.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence

from rumphyper.bridge.settings import Settings
from rumphyper.bridge.storm import Storm
from rumphyper.bridge.table import AddressTable

ADDRESSES = 12
"""Octets of destination and source, which frames start with."""

TAGGED = 16
"""Octets up to the end of a VLAN tag, where there is one."""

TAGS = (b"\x81\x00", b"\x88\xa8")
"""The types that a tag starts with: IEEE 802.1Q and 802.1ad."""

Sorted = Iterable[tuple[int, Sequence[bytes]]]
"""Ports and the frames that each is to send."""


class Mode(abc.ABC):
    """Decides where frames go among ``ports``, the numbers of those that work."""

    def __init__(self) -> None:
        self.ports: tuple[int, ...] = ()
        self.filtered = 0
        """Frames for somebody on the wire that they came from."""

    def use(self, ports: Sequence[int]) -> None:
        """From now on these are the ports that work."""
        self.ports = tuple(ports)

    @abc.abstractmethod
    def sort(self, port: int, frames: Sequence[bytes], now: float) -> Sorted:
        """Say where frames that came in at ``port`` go."""

    def as_dict(self) -> dict[str, int]:
        """What the mode has counted, by name."""
        return {"filtered": self.filtered}


class Hub(Mode):
    """Everything goes everywhere else; with two ports that is a patch."""

    def sort(self, port: int, frames: Sequence[bytes], now: float) -> Sorted:
        return [(other, frames) for other in self.ports if other != port]


class Learning(Mode):
    """Frames for a known address go where it lives, all others everywhere else.

    Nothing is kept back for spanning trees: what other bridges tell each other
    passes, so that theirs see through this one.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.table = AddressTable(settings.ageing, settings.addresses)
        self.storm = Storm(settings.storm)
        self._size = TAGGED if settings.vlan else ADDRESSES

    def use(self, ports: Sequence[int]) -> None:
        for gone in set(self.ports).difference(ports):
            self.table.forget(gone)
        super().use(ports)

    def sort(self, port: int, frames: Sequence[bytes], now: float) -> Sorted:
        if self.storm.limit:
            frames = self.storm.calm(port, frames, now)
        size = self._size
        heads = [frame[:size] for frame in frames]
        distinct = set(heads)
        for head in distinct:
            if not head[6] & 1:  # no station has a group address
                self.table.learn(head[6:12] + self._vlan(head), port, now)
        if len(distinct) == 1:
            targets = self._targets(port, heads[0], now)
            if not targets:
                self.filtered += len(frames)
            return [(target, frames) for target in targets]
        return self._distribute(port, frames, heads, distinct, now).items()

    def _distribute(
        self,
        port: int,
        frames: Sequence[bytes],
        heads: Sequence[bytes],
        distinct: set[bytes],
        now: float,
    ) -> dict[int, list[bytes]]:
        """Frames of several kinds by the port that they go to."""
        batches: dict[int, list[bytes]] = {}
        adders = {}
        for head in distinct:
            targets = self._targets(port, head, now)
            adders[head] = [batches.setdefault(to, []).append for to in targets]
        for frame, head in zip(frames, heads, strict=True):
            adds = adders[head]
            for add in adds:
                add(frame)
            if not adds:
                self.filtered += 1
        return batches

    def _targets(self, port: int, head: bytes, now: float) -> tuple[int, ...]:
        if not head[0] & 1:
            place = self.table.find(head[:6] + self._vlan(head), now)
            if place is not None:
                return (place,) if place != port else ()
        return tuple(other for other in self.ports if other != port)

    def _vlan(self, head: bytes) -> bytes:
        """The VLAN's number as part of a key; nothing where VLANs do not count."""
        if len(head) < TAGGED or head[12:14] not in TAGS:
            return b""
        return bytes((head[14] & 0x0F, head[15]))

    def as_dict(self) -> dict[str, int]:
        return {
            "filtered": self.filtered,
            "addresses": len(self.table),
            "moves": self.table.moves,
            "unlearnt": self.table.unlearnt,
            "storm": self.storm.stopped,
        }


def make_mode(settings: Settings) -> Mode:
    """The mode that the settings ask for."""
    return Learning(settings) if settings.mode == "learn" else Hub()
