"""The pinger on a simulated wire and clock; tshark reads what it said."""

from __future__ import annotations

import statistics
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.net import AddressError, ipv4
from rumphyper.net.ethernet import Ethernet
from rumphyper.net.icmp import Echo, Icmp
from rumphyper.net.pinger import Lost, Pinger, Reply, RoundTrips
from rumphyper.net.stack import Stack
from tests.judges import tshark

DELAY = 0.001


def station(number: int) -> Stack:
    return Stack(
        bytes.fromhex("b2a0000000") + bytes((number,)),
        [IPv4Interface(f"10.0.0.{number}/24")],
        [IPv6Interface(f"2001:db8::{number}/64")],
    )


class Wire:
    """Carries frames between a pinger and a station, each taking DELAY."""

    def __init__(self, pinger: Pinger, far: Stack) -> None:
        self.pinger = pinger
        self.far = far
        self.now = 100.0
        self.frames: list[bytes] = []
        self.events: list[Reply | Lost] = []

    def step(self) -> None:
        """Poll at the deadline and carry all that follows from it."""
        deadline = self.pinger.deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        going = self.pinger.poll(self.now)
        while going:
            self.frames += going
            answers = [a for frame in going for a in self.far.input(frame)]
            self.frames += answers
            self.now += DELAY
            going = [g for a in answers for g in self.pinger.input(a, self.now)]
        self.events += self.pinger.events()

    def run(self) -> list[Reply | Lost]:
        for _ in range(10_000):
            if self.pinger.finished:
                assert self.pinger.deadline() is None
                return self.events
            self.step()
        pytest.fail("the pinger never ends")


TARGETS = ["10.0.0.2", "2001:db8::2", "fe80::b0a0:ff:fe00:2", "ff02::1"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_request_is_answered(target: str) -> None:
    address = ip_address(target)
    wire = Wire(Pinger(station(1), address, count=5, size=100), station(2))
    replies = wire.run()
    assert [reply.sequence for reply in replies] == [1, 2, 3, 4, 5]
    resolving = 0 if address.is_multicast else 1
    for reply in replies:
        assert isinstance(reply, Reply)
        assert (reply.size, reply.ttl, reply.intact) == (108, 64, True)
        legs = 1 + (resolving if reply.sequence == 1 else 0)
        assert reply.rtt == pytest.approx(legs * DELAY)
    assert wire.now == pytest.approx(100 + 4 + DELAY)  # the beat of one a second
    figures = wire.pinger.summary()
    assert (figures.transmitted, figures.received, figures.loss) == (5, 5, 0)


def test_an_interval_of_0_waits_for_each_answer() -> None:
    wire = Wire(Pinger(station(1), ip_address("10.0.0.2"), count=50, interval=0.0),
                station(2))  # fmt: skip
    assert len(wire.run()) == 50
    assert wire.now == pytest.approx(100 + 51 * DELAY)


def test_no_station_no_request() -> None:
    wire = Wire(Pinger(station(1), ip_address("10.0.0.3"), count=3), station(2))
    assert wire.run() == [Lost(1, False), Lost(2, False), Lost(3, False)]
    kinds = {Ethernet.parse(frame).ethertype for frame in wire.frames}
    assert kinds == {0x0806}
    assert 3 <= len(wire.frames) <= 4  # one question a second
    assert wire.pinger.summary().loss == 1


def test_a_late_station_gets_the_requests_that_still_wait() -> None:
    pinger = Pinger(station(1), ip_address("10.0.0.2"), count=3, interval=0.2,
                    timeout=5.0)  # fmt: skip
    [question] = pinger.poll(0.0)
    assert pinger.poll(0.2) == pinger.poll(0.4) == []
    [answer] = station(2).input(question)
    requests = pinger.input(answer, 0.5)
    sequences = [
        Echo.parse(Icmp.parse(ipv4.IPv4.parse(frame[14:]).payload).body).sequence
        for frame in requests
    ]
    assert sequences == [1, 2, 3]


def exchange(pinger: Pinger, far: Stack, now: float) -> bytes:
    """Resolve, send one request; return the far side's answer to it."""
    [question] = pinger.poll(now)
    [answer] = far.input(question)
    [request] = pinger.input(answer, now)
    [reply] = far.input(request)
    return reply


def test_duplicate_late_damaged_and_foreign_replies() -> None:
    pinger = Pinger(station(1), ip_address("10.0.0.2"), count=1, timeout=1.0)
    reply = exchange(pinger, station(2), 0.0)
    pinger.poll(1.0)
    assert pinger.events() == [Lost(1, True)]
    pinger.input(reply, 1.5)
    pinger.input(reply, 1.6)
    late, again = pinger.events()
    assert isinstance(late, Reply)
    assert isinstance(again, Reply)
    assert (late.rtt, late.duplicate) == (1.5, False)
    assert (again.rtt, again.duplicate) == (1.6, True)
    outer = Ethernet.parse(reply)
    packet = ipv4.IPv4.parse(outer.payload)
    message = Icmp.parse(packet.payload)
    echo = Echo.parse(message.body)
    for change in (
        {"identifier": echo.identifier ^ 1},
        {"sequence": 2},
        {"sequence": 0},
        {"payload": b"other"},
    ):
        fields = {
            "identifier": echo.identifier, "sequence": 1, "payload": echo.payload,
            **change,
        }  # fmt: skip
        body = Echo(**fields).build()  # type: ignore[arg-type]
        data = Icmp(0, 0, body).build()
        other = ipv4.IPv4(packet.source, packet.destination, 1, data).build()
        pinger.input(Ethernet(outer.destination, outer.source, 0x800, other).build(), 2)
    [damaged] = pinger.events()
    assert isinstance(damaged, Reply)
    assert (damaged.intact, damaged.duplicate) == (False, True)
    figures = pinger.summary()
    assert (figures.received, figures.duplicates, figures.damaged) == (1, 2, 1)


def test_sequence_numbers_wrap() -> None:
    pinger = Pinger(station(1), ip_address("10.0.0.2"), count=65540, interval=0.0)
    wire = Wire(pinger, station(2))
    wire.step()
    pinger.transmitted = 65534
    events = wire.run()
    assert [event.sequence for event in events] == [1, *range(65535, 65541)]
    assert all(isinstance(event, Reply) for event in events)


def test_a_slow_caller_gets_no_burst() -> None:
    pinger = Pinger(station(1), ip_address("ff02::1"), interval=0.1)
    assert len(pinger.poll(0.0)) == 1
    assert len(pinger.poll(50.0)) == 1
    assert pinger.poll(50.05) == []


def test_memory_stays_bounded() -> None:
    pinger = Pinger(station(1), ip_address("ff02::1"), interval=1.0, timeout=0.5)
    for beat in range(3000):
        pinger.poll(float(beat))
        pinger.events()
    assert len(pinger._past) + len(pinger._waiting) <= 1025


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("10.0.0.1", None),
        ("2001:db8::1", None),
        ("10.0.0.2", "10.0.0.7"),
        ("10.0.0.2", "2001:db8::1"),
    ],
)
def test_addresses_that_do_not_work(target: str, source: str | None) -> None:
    own = None if source is None else ip_address(source)
    with pytest.raises(AddressError):
        Pinger(station(1), ip_address(target), source=own)


def test_no_ipv4_address() -> None:
    with pytest.raises(AddressError, match="no IPv4 address"):
        Pinger(Stack(bytes.fromhex("b2a000000001")), ip_address("10.0.0.2"))


@given(st.lists(st.floats(0.000001, 100), min_size=1, max_size=50))
def test_round_trip_figures(times: list[float]) -> None:
    trips = RoundTrips()
    for time in times:
        trips.add(time)
    assert (trips.minimum, trips.maximum) == (min(times), max(times))
    assert trips.mean == pytest.approx(statistics.fmean(times))
    assert trips.deviation == pytest.approx(statistics.pstdev(times), abs=1e-6)


@given(st.binary(max_size=150))
def test_any_octets_are_survived(frame: bytes) -> None:
    pinger = Pinger(station(1), ip_address("10.0.0.2"))
    assert pinger.input(frame, 0.0) == []


def test_tshark_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")
    frames: list[bytes] = []
    for target in TARGETS:
        wire = Wire(Pinger(station(1), ip_address(target), count=3), station(2))
        wire.run()
        frames += wire.frames
    path = tmp_path / "ping.pcap"
    scapy.wrpcap(str(path), [scapy.Ether(frame) for frame in frames])
    names = ["frame.protocols", "icmp.resp_in", "icmpv6.resp_in"]
    lines = tshark(path, [*names, "icmp.checksum.status", "icmpv6.checksum.status"])
    assert len(lines) == len(frames)
    protocols = {line[0] for line in lines}
    assert protocols >= {"eth:ethertype:arp", "eth:ethertype:ip:icmp:data"}
    matched = sum(bool(line[1] or line[2]) for line in lines)
    assert matched == 3 * 3  # each request knows its reply, but those to ff02::1
    statuses = [line[3] or line[4] for line in lines if ":icmp" in line[0]]
    assert set(statuses) == {"1"}  # good
