"""Ping without input or output: questions out, answers in, time from outside.

Every method that needs the time takes ``now`` in seconds of any clock that
never goes back. The pinger asks for the target's Ethernet address by ARP or
neighbour discovery first; as with ping(8) that time is part of the first
round trip. It has a `Stack`, since the target asks for our address, too.
"""

from __future__ import annotations

import math
import os

import attrs
from typing_extensions import Buffer

from rumphyper.net import probe
from rumphyper.net.answer import Address
from rumphyper.net.errors import AddressError, ParseError
from rumphyper.net.icmp import Echo
from rumphyper.net.stack import Stack

RESOLVE_INTERVAL = 1.0
"""Seconds between two questions for the target's Ethernet address."""

PAST = 1024
"""How many requests that are over are remembered, for late answers."""


@attrs.frozen
class Reply:
    """One answer: ``size`` in octets of ICMP, ``rtt`` in seconds.

    ``duplicate`` is one more answer to the same request; ``intact`` is false
    when the payload is not the one that was sent.
    """

    sequence: int
    source: Address
    size: int
    ttl: int
    rtt: float
    duplicate: bool = False
    intact: bool = True


@attrs.frozen
class Lost:
    """A request that nobody answered in time (a late `Reply` may follow).

    ``resolved`` is false when the target's Ethernet address is unknown: the
    request never left.
    """

    sequence: int
    resolved: bool


@attrs.frozen
class Summary:
    """The figures ping(8) ends with; times in seconds, None without an answer.

    ``deviation`` is the standard deviation of the round trips (mdev).
    """

    transmitted: int
    received: int
    duplicates: int
    damaged: int
    minimum: float | None = None
    average: float | None = None
    maximum: float | None = None
    deviation: float | None = None

    @property
    def loss(self) -> float:
        """The share of requests without an answer, 0 to 1."""
        return 1 - self.received / self.transmitted if self.transmitted else 0.0


@attrs.define
class RoundTrips:
    """Running figures over round trip times in seconds, none of them kept."""

    count: int = 0
    minimum: float = math.inf
    maximum: float = 0.0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, time: float) -> None:
        """Take one more time in (Welford's update, exact for long runs)."""
        self.count += 1
        self.minimum = min(self.minimum, time)
        self.maximum = max(self.maximum, time)
        off = time - self.mean
        self.mean += off / self.count
        self._squares += off * (time - self.mean)

    @property
    def deviation(self) -> float:
        """The standard deviation of all times so far."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0


@attrs.define
class _Request:
    due: float
    answered: bool = False


class Pinger:
    """Pings ``target`` from ``stack``; see `poll`, `input` and `deadline`.

    ``size`` is the payload in octets, ``count`` the number of requests (None:
    no end). ``interval`` and ``timeout`` are in seconds; an interval of 0 sends
    each request as soon as the one before was answered or lost. A broadcast or
    multicast target may be answered by many. Raises AddressError when the
    station cannot speak to ``target`` from ``source``.
    """

    def __init__(
        self,
        stack: Stack,
        target: Address,
        *,
        source: Address | None = None,
        size: int = 56,
        count: int | None = None,
        interval: float = 1.0,
        timeout: float = 1.0,
        identifier: int | None = None,
    ) -> None:
        self.stack = stack
        self.target = target
        self.source = stack.source_for(target) if source is None else source
        if self.source.version != target.version:
            raise AddressError(
                f"{self.source} to {target}", "one is IPv4, the other IPv6"
            )
        if not stack.owns(self.source):
            raise AddressError(str(self.source), "is not the station's own address")
        if stack.owns(target):
            raise AddressError(str(target), "is the station's own address")
        self.count = count
        self.interval = interval
        self.timeout = timeout
        random = int.from_bytes(os.urandom(2), "big")
        self.identifier = random if identifier is None else identifier
        self.payload = bytes(octet & 0xFF for octet in range(size))
        self.transmitted = 0
        self.duplicates = 0
        self.damaged = 0
        self.round_trips = RoundTrips()
        self._group = stack.group_mac(target)
        self._waiting: dict[int, _Request] = {}  # by number, oldest first
        self._held: list[int] = []  # waiting, but the target's MAC is unknown
        self._past: dict[int, _Request] = {}
        self._next = -math.inf
        self._asked = -math.inf
        self._events: list[Reply | Lost] = []

    @property
    def finished(self) -> bool:
        """Whether every request was sent and was answered or given up."""
        return self.transmitted == self.count and not self._waiting

    def events(self) -> list[Reply | Lost]:
        """Return what happened since the last call."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> float | None:
        """Return when `poll` wants to be called next; None when finished."""
        times = []
        if self._may_send():
            times.append(self._next)
        if self._waiting:
            times.append(next(iter(self._waiting.values())).due + self.timeout)
        if self._held:
            times.append(self._asked + RESOLVE_INTERVAL)
        return min(times, default=None)

    def poll(self, now: float) -> list[bytes]:
        """Return the frames to send at ``now``; give up what is overdue."""
        for number, request in list(self._waiting.items()):
            if now < request.due + self.timeout:
                break
            self._over(number)
            self._events.append(Lost(number, number not in self._held))
        self._held = [number for number in self._held if number in self._waiting]
        if self._may_send() and now >= self._next:
            self.transmitted += 1
            self._waiting[self.transmitted] = _Request(now)
            self._held.append(self.transmitted)
            # keep the beat, but never send a burst to make up for lost time
            beat = self._next + self.interval
            self._next = beat if beat > now else now + self.interval
        return self._flush(now)

    def input(self, frame: Buffer, now: float) -> list[bytes]:
        """Take one frame that arrived at ``now``; return the frames to send."""
        answers = self.stack.input(frame)
        try:
            reply = probe.echo_reply(frame, self.stack.mac)
        except ParseError:
            reply = None
        if reply is not None:
            self._answered(reply, now)
        return answers + self._flush(now)

    def summary(self) -> Summary:
        """Return the figures so far; a request still under way counts as lost."""
        trips = self.round_trips
        counts = (self.transmitted, trips.count, self.duplicates, self.damaged)
        if not trips.count:
            return Summary(*counts)
        return Summary(
            *counts, trips.minimum, trips.mean, trips.maximum, trips.deviation
        )

    def _may_send(self) -> bool:
        if self.transmitted == self.count:
            return False
        return self.interval > 0 or not self._waiting

    def _flush(self, now: float) -> list[bytes]:
        """Return the requests that wait for the target's MAC, or ask for it."""
        if not self._held:
            return []
        mac = self._group or self.stack.neighbors.get(self.target)
        if mac is None:
            if now < self._asked + RESOLVE_INTERVAL:
                return []
            self._asked = now
            return [probe.who_has(self.stack.mac, self.source, self.target)]
        held, self._held = self._held, []
        return [
            probe.echo_request(
                self.stack.mac, self.source, mac, self.target,
                Echo(self.identifier, number & 0xFFFF, self.payload),
            )
            for number in held
        ]  # fmt: skip

    def _answered(self, reply: probe.EchoReply, now: float) -> None:
        """Note the reply if it is to one of our requests."""
        echo = reply.echo
        if echo.identifier != self.identifier or reply.destination != self.source:
            return
        if reply.source != self.target and self._group is None:
            return
        # the latest request with this sequence number: 16 bits of its number
        number = self.transmitted - (self.transmitted - echo.sequence & 0xFFFF)
        request = self._waiting.get(number) or self._past.get(number)
        if request is None or number in self._held:
            return
        intact = echo.payload == self.payload
        duplicate, request.answered = request.answered, True
        if duplicate:
            self.duplicates += 1
        else:
            self.round_trips.add(now - request.due)
        if not intact:
            self.damaged += 1
        self._over(number)
        size, rtt = 8 + len(echo.payload), now - request.due
        self._events.append(
            Reply(number, reply.source, size, reply.ttl, rtt, duplicate, intact)
        )

    def _over(self, number: int) -> None:
        """Move a request to the past, where a late answer still finds it."""
        request = self._waiting.pop(number, None)
        if request is None:
            return
        self._past[number] = request
        if len(self._past) > PAST:
            del self._past[next(iter(self._past))]
