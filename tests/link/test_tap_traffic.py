"""The host kernel at the other end: its own answers, its bridge, its sockets."""

from __future__ import annotations

import itertools
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from rumphyper.errors import LinkClosedError
from rumphyper.host.netif import Netif
from rumphyper.link.tap import TapLink
from rumphyper.net.stack import Stack
from tests.link.tap_support import HOSTS, OURS, both, frame, ip, open_io
from tests.namespace import isolated

HOST4, HERE4 = "10.77.0.1", "10.77.0.2"
HOST6, HERE6 = "fd00:77::1", "fd00:77::2"


def address_host(name: str) -> None:
    """Give the host's interface its addresses."""
    with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as file:
        file.write("0")
    with Netif() as netif:
        netif.add_address(name, f"{HOST4}/24")
        netif.add_address(name, f"{HOST6}/64")


@both
@isolated
def test_the_kernel_answers_arp_and_pings(io: str) -> None:
    """scapy writes the questions and reads the answers."""
    scapy = pytest.importorskip("scapy.all")
    ether = scapy.Ether(src=OURS.hex(":"), dst=HOSTS.hex(":"))
    who = scapy.ARP(op=1, hwsrc=OURS.hex(":"), psrc=HERE4, pdst=HOST4)
    asks = scapy.ICMPv6ND_NS(tgt=HOST6) / scapy.ICMPv6NDOptSrcLLAddr(
        lladdr=OURS.hex(":")
    )
    with open_io("tap0", io, host_mac=HOSTS) as link:
        address_host("tap0")

        def ask(packet: object, kind: object) -> object:
            for _ in range(50):  # the kernel takes a moment to take up an address
                assert link.send([bytes(packet)]) == 1  # type: ignore[call-overload]
                for octets in link.recv(timeout=0.2):
                    answer = scapy.Ether(octets)
                    if answer.haslayer(kind):
                        assert answer.src == HOSTS.hex(":")
                        assert answer.dst == OURS.hex(":")
                        return answer
            raise AssertionError(f"no answer to {packet!r}")

        broadcast = scapy.Ether(src=OURS.hex(":"), dst="ff:ff:ff:ff:ff:ff")
        arp = ask(broadcast / who, scapy.ARP)
        assert (arp[scapy.ARP].op, arp[scapy.ARP].hwsrc) == (2, HOSTS.hex(":"))  # type: ignore[index]
        six = scapy.IPv6(src=HERE6, dst=HOST6)
        found = ask(ether / six / asks, scapy.ICMPv6ND_NA)
        assert found[scapy.ICMPv6ND_NA].tgt == HOST6  # type: ignore[index]
        for size in (0, 56, 1472):
            data = random.Random(size).randbytes(size)
            echo = scapy.IP(src=HERE4, dst=HOST4) / scapy.ICMP(id=7, seq=size) / data
            reply = ask(ether / echo, scapy.ICMP)
            icmp = reply[scapy.ICMP]  # type: ignore[index]
            assert (icmp.type, icmp.id, icmp.seq) == (0, 7, size)
            assert bytes(icmp.payload)[:size] == data
            if size <= 1452:
                echo6 = scapy.ICMPv6EchoRequest(id=9, seq=size, data=data)
                reply = ask(ether / six / echo6, scapy.ICMPv6EchoReply)
                assert reply[scapy.ICMPv6EchoReply].data == data  # type: ignore[index]


@contextmanager
def station(link: TapLink) -> Iterator[Stack]:
    """A station that answers on the link, in a thread."""
    networks = IPv4Interface(f"{HERE4}/24"), IPv6Interface(f"{HERE6}/64")
    stack = Stack(link.mac, [networks[0]], [networks[1]])

    def serve() -> None:
        try:
            while True:
                frames = link.recv_views()
                answers = [one for octets in frames for one in stack.input(octets)]
                assert link.send(answers) == len(answers)
        except LinkClosedError:
            pass

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield stack
    finally:
        link.close()
        server.join(10)
        assert not server.is_alive()


@both
@isolated
def test_sockets_of_the_host_talk_to_a_station_on_the_link(io: str) -> None:
    link = open_io("tap0", io)
    address_host("tap0")
    with station(link) as stack:
        chance = random.Random(1)
        for family, target in ((socket.AF_INET, HERE4), (socket.AF_INET6, HERE6)):
            with socket.socket(family, socket.SOCK_DGRAM) as udp:
                udp.settimeout(10)
                udp.connect((target, 7))
                udp.send(b"who are you?")  # what follows must not wait for ARP
                assert udp.recv(2000) == b"who are you?"
                for _ in range(20):
                    sent = [
                        chance.randbytes(chance.randint(0, 1400)) for _ in range(30)
                    ]
                    for datagram in sent:
                        udp.send(datagram)
                    assert [udp.recv(2000) for _ in sent] == sent
        assert stack.answered["udp"] == 1202
        assert stack.answered["arp"] >= 1
        assert stack.answered["nd"] >= 1
    assert link.counters.received >= 1202
    assert link.counters.sent >= 1202


FRAMES = 100_000
WINDOW = 600
"""Frames under way at most: fewer than the queue of the receiving TAP holds."""


def supply() -> Iterator[bytes]:
    """The frames of one direction: of random sizes, with runs of equal ones."""
    chance = random.Random(FRAMES)
    pool = chance.randbytes(1 << 16)
    number = 0
    while number < FRAMES:
        size = chance.randint(0, 1480)
        for _ in range(min(chance.choice((1, 2, 100)), FRAMES - number)):
            start = number * 7 % (len(pool) - size)
            yield number.to_bytes(8, "big") + pool[start : start + size]
            number += 1


def carry(sender: TapLink, receiver: TapLink, source: bytes, target: bytes) -> None:
    """Send all frames of the supply; compare each with what arrives."""
    going, coming = supply(), supply()
    sent = arrived = 0
    batch: list[bytes] = []
    while arrived < FRAMES:
        while sent - arrived < WINDOW and sent < FRAMES:
            batch = [
                frame(payload, target, source)
                for payload in itertools.islice(going, 150)
            ]
            assert sender.send(batch) == len(batch)
            sent += len(batch)
        received = receiver.recv_views(128, timeout=10)
        assert received
        for octets in received:
            assert bytes(octets) == frame(next(coming), target, source)
        arrived += len(received)
    assert next(coming, None) is None
    assert sender.counters.sent == FRAMES
    assert receiver.counters.received == FRAMES


@isolated
def test_a_hundred_thousand_frames_each_way_through_the_kernels_bridge() -> None:
    """From io_uring to plain calls, and back."""
    one = open_io("tap1", "uring", up=False)
    two = open_io("tap2", "plain", up=False)
    with one, two:
        ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        for name in ("tap1", "tap2"):
            ip("link", "set", name, "master", "br0")
            ip("link", "set", name, "up")
        ip("link", "set", "br0", "up")
        carry(one, two, OURS, HOSTS)
        carry(two, one, HOSTS, OURS)
        assert one.counters.dropped == two.counters.dropped == 0
