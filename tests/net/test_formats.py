"""Frame formats: there and back, against scapy, and against any octets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.net import ParseError, mac
from rumphyper.net.arp import Arp
from rumphyper.net.checksum import checksum
from rumphyper.net.ethernet import Ethernet, VlanTag
from rumphyper.net.icmp import Echo, Icmp, Icmp6
from rumphyper.net.ipv4 import IPv4
from rumphyper.net.ipv6 import IPv6, link_local, multicast_mac, solicited_node
from rumphyper.net.nd import NdOption, Neighbor
from rumphyper.net.udp import Udp

scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")

A4, B4 = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
A6, B6 = IPv6Address("2001:db8::1"), IPv6Address("fe80::2")

macs = st.binary(min_size=6, max_size=6)
payloads = st.binary(max_size=64)
octets = st.integers(0, 255)
words = st.integers(0, 65535)
addresses4 = st.integers(0, 2**32 - 1).map(IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(IPv6Address)
ethertypes = words.filter(lambda kind: kind not in (0x8100, 0x88A8))
tags = st.builds(VlanTag, words, st.sampled_from((0x8100, 0x88A8)))
frames = st.builds(
    Ethernet, macs, macs, ethertypes, payloads, st.lists(tags, max_size=3).map(tuple)
)
packets4 = st.builds(
    IPv4, addresses4, addresses4, octets, payloads, octets, octets, words,
    st.integers(0, 7), st.integers(0, 8191).map(lambda n: n * 8),
    st.integers(0, 10).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n)),
)  # fmt: skip
packets6 = st.builds(
    IPv6, addresses6, addresses6, octets, payloads, octets, octets,
    st.integers(0, 2**20 - 1),
)  # fmt: skip
options = st.builds(
    NdOption,
    octets,
    st.integers(1, 3).flatmap(
        lambda n: st.binary(min_size=8 * n - 2, max_size=8 * n - 2)
    ),
)
neighbors = st.builds(
    Neighbor,
    addresses6.filter(lambda address: not address.is_multicast),
    st.integers(0, 2**32 - 1),
    st.lists(options, max_size=3).map(tuple),
)
messages = st.builds(Icmp, octets, octets, st.binary(min_size=4, max_size=64))
messages6 = st.builds(Icmp6, octets, octets, st.binary(min_size=4, max_size=64))
datagrams = st.builds(Udp, words, words, payloads)


@given(frames)
def test_ethernet_there_and_back(frame: Ethernet) -> None:
    assert Ethernet.parse(frame.build()) == frame


@given(st.builds(Arp, words, macs, addresses4, macs, addresses4), payloads)
def test_arp_there_and_back(packet: Arp, padding: bytes) -> None:
    assert Arp.parse(packet.build() + padding) == packet


@given(packets4, payloads)
def test_ipv4_there_and_back(packet: IPv4, padding: bytes) -> None:
    assert IPv4.parse(packet.build() + padding) == packet


@given(packets6, payloads)
def test_ipv6_there_and_back(packet: IPv6, padding: bytes) -> None:
    assert IPv6.parse(packet.build() + padding) == packet


@given(messages)
def test_icmp_there_and_back(message: Icmp) -> None:
    assert Icmp.parse(message.build()) == message


@given(messages6, addresses6, addresses6)
def test_icmp6_there_and_back(
    message: Icmp6, source: IPv6Address, destination: IPv6Address
) -> None:
    data = message.build(source, destination)
    assert Icmp6.parse(data, source, destination) == message


@given(st.builds(Echo, words, words, payloads))
def test_echo_there_and_back(echo: Echo) -> None:
    assert Echo.parse(echo.build()) == echo


@given(neighbors)
def test_neighbor_there_and_back(neighbor: Neighbor) -> None:
    assert Neighbor.parse(neighbor.build()) == neighbor


@given(datagrams, addresses4, addresses4, addresses6, addresses6)
def test_udp_there_and_back(
    datagram: Udp, a4: IPv4Address, b4: IPv4Address, a6: IPv6Address, b6: IPv6Address
) -> None:
    assert Udp.parse(datagram.build(a4, b4), a4, b4) == datagram
    assert Udp.parse(datagram.build(a6, b6), a6, b6) == datagram


PARSERS: list[Callable[[bytes], object]] = [
    Ethernet.parse,
    Arp.parse,
    IPv4.parse,
    lambda data: IPv4.parse(data, verify=False),
    lambda data: IPv6.parse(data).upper_layer(),
    lambda data: IPv6(A6, B6, 0, data).upper_layer(),
    lambda data: IPv6(A6, B6, 60, data).upper_layer(),
    Icmp.parse,
    lambda data: Icmp6.parse(data, A6, B6),
    Echo.parse,
    Neighbor.parse,
    lambda data: Udp.parse(data, A4, B4),
    lambda data: Udp.parse(data, A6, B6),
]


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary(max_size=120))
def test_any_octets_parse_or_raise_parse_error(
    parse: Callable[[bytes], object], data: bytes
) -> None:
    # what else is raised fails the test
    with contextlib.suppress(ParseError):
        parse(data)


GOOD: list[tuple[Callable[[bytes], object], bytes]] = [
    (IPv4.parse, IPv4(A4, B4, 1, b"data", options=b"\1" * 8).build()),
    (IPv6.parse, IPv6(A6, B6, 58, b"data").build()),
    (Arp.parse, Arp(1, b"\2" * 6, A4, bytes(6), B4).build()),
    (
        lambda data: Udp.parse(data, A4, B4),
        Udp(1, 2, b"data").build(A4, B4),
    ),
    (Neighbor.parse, Neighbor(A6, 0, (NdOption(1, b"\2" * 6),)).build()),
]


@pytest.mark.parametrize(("parse", "good"), GOOD)
def test_cut_off_anywhere(parse: Callable[[bytes], object], good: bytes) -> None:
    parse(good)
    for size in range(len(good)):
        if parse == Neighbor.parse and size == 20:
            continue  # a message without its option is whole
        with pytest.raises(ParseError, match=r"cut off|octets"):
            parse(good[:size])


@given(st.binary(max_size=300))
def test_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(data) == 0xFFFF - total


def test_checksum_of_the_rfc_example() -> None:
    # RFC 1071, 3: these octets sum up to ddf2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


def same(ours: bytes, theirs: Any) -> None:
    assert ours == bytes(theirs)


def test_scapy_builds_the_same_octets() -> None:
    a, b = "b2:a0:00:00:00:01", "b2:a0:00:00:00:02"
    mac_a, mac_b = mac.parse_mac(a), mac.parse_mac(b)
    same(
        Ethernet(mac_b, mac_a, 0x88B5, b"xyz", (VlanTag(0x6005),)).build(),
        scapy.Ether(src=a, dst=b) / scapy.Dot1Q(vlan=5, prio=3, type=0x88B5) / b"xyz",
    )
    same(
        Arp(1, mac_a, A4, bytes(6), B4).build(),
        scapy.ARP(hwsrc=a, psrc="10.0.0.1", pdst="10.0.0.2", hwdst="00:00:00:00:00:00"),
    )
    same(
        IPv4(A4, B4, 17, Udp(9, 7, b"odd").build(A4, B4), 12, 4, 99).build(),
        scapy.IP(src="10.0.0.1", dst="10.0.0.2", ttl=12, tos=4, id=99, flags="DF")
        / scapy.UDP(sport=9, dport=7)
        / b"odd",
    )
    same(
        IPv6(A6, B6, 17, Udp(9, 7, b"odd").build(A6, B6), 12, 4, 99).build(),
        scapy.IPv6(src=str(A6), dst=str(B6), hlim=12, tc=4, fl=99)
        / scapy.UDP(sport=9, dport=7)
        / b"odd",
    )
    echo = Echo(5, 6, b"ping").build()
    same(Icmp(8, 0, echo).build(), scapy.ICMP(id=5, seq=6) / b"ping")
    same(
        IPv6(A6, B6, 58, Icmp6(128, 0, echo).build(A6, B6)).build(),
        scapy.IPv6(src=str(A6), dst=str(B6), hlim=64)
        / scapy.ICMPv6EchoRequest(id=5, seq=6, data=b"ping"),
    )
    body = Neighbor(A6, 0x60000000, (NdOption(2, mac_a),)).build()
    same(
        IPv6(A6, B6, 58, Icmp6(136, 0, body).build(A6, B6), 255).build(),
        scapy.IPv6(src=str(A6), dst=str(B6), hlim=255)
        / scapy.ICMPv6ND_NA(tgt=str(A6), R=0, S=1, O=1)
        / scapy.ICMPv6NDOptDstLLAddr(lladdr=a),
    )


def test_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    for value in range(65536):
        data = Udp(1, 2, value.to_bytes(2, "big")).build(A4, B4)
        assert data[6:8] != b"\0\0"
        if data[6:8] == b"\xff\xff":
            assert Udp.parse(data, A4, B4).payload == value.to_bytes(2, "big")
            return
    pytest.fail("no payload sums up to zero")


@given(macs)
def test_addresses_derived_from_the_mac(octets: bytes) -> None:
    text = mac.format_mac(octets)
    assert mac.parse_mac(text) == octets
    assert mac.parse_mac(text.upper().replace(":", "-")) == octets
    address = link_local(octets)
    assert address == IPv6Address(f"fe80::{scapy.in6_mactoifaceid(text)}")
    group = solicited_node(address)
    wanted = scapy.in6_getnsma(address.packed)
    assert group.packed == wanted
    assert mac.format_mac(multicast_mac(group)) == scapy.in6_getnsmac(wanted)


@pytest.mark.parametrize(
    "text",
    ["", "b2:a0", "b2:a0:0:0:0:0:0", "b2:a0-0:0:0:0", "b2:a0:0:0:0:1g"],
)
def test_a_text_that_is_no_mac(text: str) -> None:
    with pytest.raises(ParseError, match="Ethernet address"):
        mac.parse_mac(text)


def test_random_mac_is_local_and_of_one_station() -> None:
    seen = {mac.random_mac() for _ in range(20)}
    assert len(seen) > 1
    for octets in seen:
        assert octets[:2] == b"\xb2\xa0"
        assert not mac.is_group(octets)
