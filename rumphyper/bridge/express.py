"""Frames that go from port to port without a copy, where both ends allow it.

From TAP to TAP when all frames of a batch have one way to go, and between two
netmap ports of one memory region or two of DPDK in a patch. All else goes by way of
`Port`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rumphyper.bridge.modes import Hub, Mode
from rumphyper.bridge.port import BATCH, Port
from rumphyper.errors import RumphyperError
from rumphyper.link import Link
from rumphyper.link.netmap_forward import Forwarder
from rumphyper.link.netmap_link import NetmapLink
from rumphyper.link.tap_forward import Slots, SlotWriter
from rumphyper.link.tap_link import TapLink

Mover = Callable[[int], tuple[int, Sequence[bytes]]]
"""Moves up to so many frames: how many went, and those that have to go as usual."""


class Express:
    """The quick ways between ports, made when they are first taken.

    What is kept for a port has to be forgotten before its link is closed.
    """

    def __init__(self, mode: Mode, ports: Sequence[Port]) -> None:
        self._mode = mode
        self._ports = ports
        self._slots: dict[int, Slots | None] = {}
        self._writers: dict[tuple[int, int], SlotWriter | None] = {}
        self._movers: dict[int, Mover | None] = {}

    def carry(self, source: Port, now: float) -> tuple[int, Sequence[bytes]]:
        """Move a batch; how many frames went, and those that have to go as usual."""
        number = source.number
        if number not in self._movers:
            self._movers[number] = self._make_mover(source)
        if number not in self._slots:
            self._slots[number] = _make_slots(source.link)
        mover, slots = self._movers[number], self._slots[number]
        try:
            if mover is not None:
                return mover(BATCH)
            if slots is None:
                return 0, source.take(BATCH, now)
            frames = slots.read(BATCH)
        except (RumphyperError, OSError) as error:
            source.failed(error, now)
            return 0, ()
        if frames is not None:
            return 0, frames
        if not slots.count:
            return 0, ()
        return self._carry_slots(source, slots, now)

    def _carry_slots(
        self, source: Port, slots: Slots, now: float
    ) -> tuple[int, Sequence[bytes]]:
        targets = self._mode.common(source.number, slots, now)
        if targets is None or len(targets) > 1:
            return 0, slots.copies()
        if not targets:
            return slots.count, ()
        target = self._ports[targets[0]]
        writer = self._writer(slots, source, target)
        if writer is None or not target.give_slots(slots, writer, source, now):
            return 0, slots.copies()
        return slots.count, ()

    def _writer(self, slots: Slots, source: Port, target: Port) -> SlotWriter | None:
        key = source.number, target.number
        if key not in self._writers:
            self._writers[key] = _make_writer(slots, target.link)
        return self._writers[key]

    def _make_mover(self, source: Port) -> Mover | None:
        others = [port for port in self._ports if port is not source]
        if not isinstance(self._mode, Hub) or len(others) != 1:
            return None
        return _make_mover(source.link, others[0].link)

    def forget(self, number: int) -> None:
        """A port's link is about to be closed: let go of it."""
        self._movers.clear()
        for key in [key for key in self._writers if number in key]:
            writer = self._writers.pop(key)
            if writer is not None:
                writer.close()
        slots = self._slots.pop(number, None)
        if slots is not None:
            slots.close()


def _make_slots(link: Link | None) -> Slots | None:
    if not isinstance(link, TapLink) or link.batches is None:
        return None
    return Slots(link)


def _make_writer(slots: Slots, link: Link | None) -> SlotWriter | None:
    if not isinstance(link, TapLink) or link.batches is None:
        return None
    try:
        return SlotWriter(slots, link)
    except RumphyperError:
        return None  # no more memory may be locked, for one: frames are copied


def _make_mover(source: Link | None, target: Link | None) -> Mover | None:
    if source is None or target is None:
        return None
    if not isinstance(source, NetmapLink) or not isinstance(target, NetmapLink):
        return source.forward_to(target)
    try:
        forwarder = Forwarder(source, target)
    except RumphyperError:
        return None  # of different regions: frames are copied
    return lambda limit: (forwarder.move(limit), ())
