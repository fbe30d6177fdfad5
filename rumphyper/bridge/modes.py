"""Where frames go: learning bridge, hub, patch. No I/O.

A mode sorts a batch of frames that arrived at one port into batches for others,
in the order in which they came.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

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


class Slots(Protocol):
    """Frames that still lie where they arrived."""

    count: int
    """How many there are."""

    def same_head(self) -> bytes | None:
        """The first 16 octets, where all frames have the same ones; else None."""

    def heads(self, length: int) -> list[bytes]:
        """The first ``length`` octets of each."""


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

    @abc.abstractmethod
    def common(self, port: int, slots: Slots, now: float) -> tuple[int, ...] | None:
        """The ports that all of the frames go to; None where they differ."""

    def as_dict(self) -> dict[str, int]:
        """What the mode has counted, by name."""
        return {"filtered": self.filtered}


class Hub(Mode):
    """Everything goes everywhere else; with two ports that is a patch."""

    def sort(self, port: int, frames: Sequence[bytes], now: float) -> Sorted:
        return [(other, frames) for other in self.ports if other != port]

    def common(self, port: int, slots: Slots, now: float) -> tuple[int, ...] | None:
        return tuple(other for other in self.ports if other != port)


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
        routes = self._routes(port, heads, now)
        targets = _only(routes.values())
        if targets is None:
            return _distribute(frames, heads, routes).items()
        return [(target, frames) for target in targets]

    def common(self, port: int, slots: Slots, now: float) -> tuple[int, ...] | None:
        if self.storm.limit:
            return None
        head = slots.same_head()
        if head is not None:
            return self._route(port, head, slots.count, now)
        return _only(self._routes(port, slots.heads(self._size), now).values())

    def _route(self, port: int, head: bytes, count: int, now: float) -> tuple[int, ...]:
        """Learn where ``count`` frames with one head come from; where they go."""
        if not head[6] & 1:  # no station has a group address
            self.table.learn(head[6:12] + self._vlan(head), port, now)
        targets = self._targets(port, head, now)
        if not targets:
            self.filtered += count
        return targets

    def _routes(
        self, port: int, heads: Sequence[bytes], now: float
    ) -> dict[bytes, tuple[int, ...]]:
        """Learn where frames come from; for each kind of head where it goes."""
        distinct = set(heads)
        for head in distinct:
            if not head[6] & 1:  # no station has a group address
                self.table.learn(head[6:12] + self._vlan(head), port, now)
        routes = {head: self._targets(port, head, now) for head in distinct}
        for head, targets in routes.items():
            if not targets:
                self.filtered += heads.count(head)
        return routes

    def _targets(self, port: int, head: bytes, now: float) -> tuple[int, ...]:
        if not head[0] & 1:
            place = self.table.find(head[:6] + self._vlan(head), now)
            if place is not None:
                return (place,) if place != port else ()
        return tuple(other for other in self.ports if other != port)

    def _vlan(self, head: bytes) -> bytes:
        """The VLAN's number as part of a key; nothing where VLANs do not count."""
        if self._size < TAGGED or head[12:14] not in TAGS:
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


def _only(routes: Iterable[tuple[int, ...]]) -> tuple[int, ...] | None:
    """What all are; None where they differ."""
    distinct = set(routes)
    return distinct.pop() if len(distinct) == 1 else None


def _distribute(
    frames: Sequence[bytes],
    heads: Sequence[bytes],
    routes: Mapping[bytes, tuple[int, ...]],
) -> dict[int, list[bytes]]:
    """Frames by the port that they go to, in order."""
    batches: dict[int, list[bytes]] = {}
    adders = {
        head: [batches.setdefault(target, []).append for target in targets]
        for head, targets in routes.items()
    }
    for frame, head in zip(frames, heads, strict=True):
        for add in adders[head]:
            add(frame)
    return batches


def make_mode(settings: Settings) -> Mode:
    """The mode that the settings ask for."""
    return Learning(settings) if settings.mode == "learn" else Hub()
