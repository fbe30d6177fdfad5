"""The bridge: a loop that moves batches of frames between its ports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from typing_extensions import Self

from rumphyper.bridge import shortcut
from rumphyper.bridge.express import Express
from rumphyper.bridge.loops import LoopWatch
from rumphyper.bridge.modes import Learning, make_mode
from rumphyper.bridge.outlet import Report
from rumphyper.bridge.port import BATCH, Port
from rumphyper.bridge.settings import Settings
from rumphyper.bridge.waiting import Watch
from rumphyper.errors import LinkstrError
from rumphyper.link import Link, open_link
from rumphyper.link.waiter import Stopper

RETRY = 0.0005
"""Seconds until a full link is offered its frames again."""

VANISHED = 1.0
"""Seconds between two looks whether links are still where others find them."""

DEFAULT = Settings()
NEVER = float("inf")
LONGEST = 3600.0
"""Seconds of one sleep at most; poll(2) counts milliseconds in 31 bits."""


class Bridge:
    """Joins the links that ``linkstrs`` name; `run` moves their frames.

    All links are opened here, or none: what opening one raises is raised, with
    the others closed again. ``report`` gets a line of text for each event: a
    link that died, came back, refuses frames, is part of a loop. ``opener`` is
    what opens a linkstr. Raises LinkstrError for links that do not go together.
    For one thread; ends with `close`, which closes the links.
    """

    def __init__(
        self,
        linkstrs: Sequence[str],
        settings: Settings = DEFAULT,
        report: Report = lambda line: None,
        opener: Callable[[str], Link] = open_link,
    ) -> None:
        _check(linkstrs, settings)
        self.settings = settings
        self._report = report
        self._mode = make_mode(settings)
        self._loops = LoopWatch(settings.loop_check)
        self._began = self._look_at = time.monotonic()
        self.ports: list[Port] = []
        with contextlib.ExitStack() as undo:
            for number, linkstr in enumerate(linkstrs):
                port = Port(
                    number,
                    linkstr,
                    partial(opener, linkstr),
                    wait=settings.full == "wait",
                    report=report,
                )
                undo.callback(port.close)
                self.ports.append(port)
            self._watch = Watch(settings.waiting)
            undo.callback(self._watch.close)
            self._find_same_wire()
            self._closers = undo.pop_all()
        self._express = Express(self._mode, self.ports)
        for port in self.ports:
            port.before_close = self._express.forget
        self._settle()

    def _find_same_wire(self) -> None:
        """Refuse links that are plainly on one wire; probes find the others."""
        wires: dict[shortcut.Wire, Port] = {}
        for port in self.ports:
            if port.wire is None:
                continue
            if port.wire in wires:
                other = wires[port.wire].linkstr
                cause = (
                    f"it is the wire of {other}, too: frames would go round for ever"
                )
                raise LinkstrError(port.linkstr, cause, "name each wire once")
            wires[port.wire] = port

    # -- the loop ------------------------------------------------------------

    def run(
        self,
        stop: Stopper,
        duration: float | None = None,
        period: float | None = None,
        show: Callable[[], None] = lambda: None,
    ) -> bool:
        """Move frames until ``stop`` or for ``duration`` seconds.

        ``show`` is called every ``period`` seconds. False when the bridge has
        come to its end by itself: fewer than two links are left, and none of
        them will come back.
        """
        begin = time.monotonic()
        end = NEVER if duration is None else begin + duration
        next_show = NEVER if period is None else begin + period
        found = True
        while True:
            now = time.monotonic()
            if now >= self._next_timer():
                self.look_after(now)
            if now >= next_show:
                show()
                next_show = max(next_show + (period or 0), now)
            if now >= end or stop.wanted:
                return True
            if not self._may_go_on():
                return False
            until = min(end, next_show, self._next_timer(), now + LONGEST)
            if any(port.waiting for port in self.ports):
                until = min(until, now + RETRY)
            if not self._watch.wait(stop, found, max(0.0, until - now)):
                return True
            found = self.turn(self._watch.ready(), time.monotonic()) > 0

    def turn(self, numbers: Iterable[int], now: float) -> int:
        """Move what is there at these ports, a batch each; how many frames."""
        done = 0
        ports, mode, loops = self.ports, self._mode, self._loops
        for port in ports:
            if port.waiting:
                port.push(now)
        for number in numbers:
            port = ports[number]
            if port.owed:
                continue
            listening = loops.listening(now)
            if listening:
                frames = port.take(BATCH, now)
            else:
                moved, frames = self._express.carry(port, now)
                done += moved
            if not frames:
                continue
            done += len(frames)
            if listening:
                frames = loops.pick(number, frames, now)
                self._shut_ports(now)
            if frames and not port.shut:
                for target, batch in mode.sort(number, frames, now):
                    ports[target].give(batch, port, now)
        self._settle()
        return done

    def learn(self, address: bytes, number: int) -> None:
        """Teach a learning bridge that an address is behind a port by now."""
        if isinstance(self._mode, Learning):
            self._mode.table.learn(address, number, time.monotonic())

    def _next_timer(self) -> float:
        """When `look_after` has something to do."""
        dues = [self._loops.due, self._look_at]
        if self.settings.reopen:
            dues += [port.retry_at for port in self.ports]
        return min(dues)

    def look_after(self, now: float) -> None:
        """Find links that vanished, send probes, open dead links again."""
        if now >= self._look_at:
            self._look_at = now + VANISHED
            for port in self.ports:
                error = (
                    None
                    if port.link is None
                    else shortcut.vanished(port.link, port.wire)
                )
                if error is not None:
                    port.die(error, now)
        for port in self.ports:
            if self.settings.reopen and now >= port.retry_at and port.reopen(now):
                self._loops.soon()
        if now >= self._loops.due:
            self._shut_ports(now)
            for port in self.ports:
                if port.link is not None and port.sends:
                    port.probe(self._loops.probe(port.number, port.link.mac), now)
            self._loops.sent(now)
        self._settle()

    def _shut_ports(self, now: float) -> None:
        """Shut the ports that loops were found at, let the others in again."""
        shut = self._loops.shut(now)
        for port in self.ports:
            if port.shut != (port.number in shut):
                port.shut = not port.shut
                port.changed = True
                self._report(
                    f"{port.linkstr}: a loop, what is sent by one port comes back: "
                    "shut until that ends"
                    if port.shut
                    else f"{port.linkstr}: the loop is gone, open again"
                )

    def _settle(self) -> None:
        """Watch and use the ports as they are now."""
        if not any(port.changed for port in self.ports):
            return
        for port in self.ports:
            port.changed = False
        alive = [port for port in self.ports if port.alive]
        self._watch.set((port.fd, port.number) for port in alive if not port.owed)
        self._mode.use([p.number for p in alive if p.sends and not p.shut])

    def _may_go_on(self) -> bool:
        alive = sum(port.alive for port in self.ports)
        return alive > 1 or (
            self.settings.reopen and any(port.retry_at < NEVER for port in self.ports)
        )

    # -- figures and the end -------------------------------------------------

    def as_dict(self) -> dict[str, object]:
        """All counters, by name, since the bridge was made."""
        return {
            "seconds": round(time.monotonic() - self._began, 3),
            "ports": [port.as_dict() for port in self.ports],
            **self._mode.as_dict(),
        }

    def mtu_differences(self) -> list[str]:
        """A line for each link whose MTU is less than another one's."""
        mtus = [
            (port.link.mtu, port.linkstr)
            for port in self.ports
            if port.link and port.sends
        ]
        most = max((mtu for mtu, _ in mtus), default=0)
        return [
            f"{linkstr}: its MTU is {mtu}, another link's {most}: longer frames for "
            "it are dropped and counted as oversize"
            for mtu, linkstr in mtus
            if mtu < most
        ]

    def close(self) -> None:
        """Close all links. Idempotent."""
        self._closers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(linkstrs: Sequence[str], settings: Settings) -> None:
    """Raise LinkstrError for links that do not make a bridge."""
    if len(linkstrs) < 2:
        remedy = "name at least two"
        raise LinkstrError("bridge", f"{len(linkstrs)} link is no bridge", remedy)
    if settings.mode == "patch" and len(linkstrs) != 2:
        cause = f"a patch has two ends, here are {len(linkstrs)} links"
        raise LinkstrError("bridge", cause, "leave out --patch, or name two")
    twice = {linkstr for linkstr in linkstrs if linkstrs.count(linkstr) > 1}
    if twice:
        cause = "named twice: its frames would go round for ever"
        raise LinkstrError(min(twice), cause, "name each link once")
