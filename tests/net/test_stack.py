"""The small station, asked and judged by scapy."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.net import AddressError
from rumphyper.net.stack import Stack

scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")

MAC = "b2:a0:00:00:00:01"
PEER = "b2:a0:00:00:00:99"
LINK_LOCAL = "fe80::b0a0:ff:fe00:1"
GROUP_MAC = "33:33:ff:00:00:01"
GROUP = "ff02::1:ff00:1"


@pytest.fixture
def stack() -> Stack:
    return Stack(
        bytes.fromhex("b2a000000001"),
        [IPv4Interface("10.0.0.1/24")],
        [IPv6Interface("2001:db8::1/64")],
    )


def ask(stack: Stack, question: Any) -> Any:
    """Return scapy's view of the one answer, or None; its checksums are right."""
    answers = stack.input(bytes(question))
    if not answers:
        return None
    [octets] = answers
    answer = scapy.Ether(octets)
    again = answer.copy()
    for kind in again.layers():  # scapy computes anew what was deleted
        for field in ("chksum", "cksum"):
            if hasattr(kind, "fields_desc") and field in again[kind].fields:
                delattr(again[kind], field)
    assert bytes(again) == octets
    return answer


def ether(dst: str = MAC) -> Any:
    return scapy.Ether(src=PEER, dst=dst)


def test_arp_request_is_answered(stack: Stack) -> None:
    question = scapy.ARP(op=1, hwsrc=PEER, psrc="10.0.0.9", pdst="10.0.0.1")
    answer = ask(stack, ether("ff:ff:ff:ff:ff:ff") / question)
    assert (answer.src, answer.dst) == (MAC, PEER)
    arp = answer[scapy.ARP]
    assert (arp.op, arp.hwsrc, arp.psrc) == (2, MAC, "10.0.0.1")
    assert (arp.hwdst, arp.pdst) == (PEER, "10.0.0.9")
    assert stack.answered["arp"] == 1


def test_arp_probe_is_answered_and_teaches_nothing(stack: Stack) -> None:
    probe = scapy.ARP(op=1, hwsrc=PEER, psrc="0.0.0.0", pdst="10.0.0.1")
    answer = ask(stack, ether("ff:ff:ff:ff:ff:ff") / probe)
    assert answer[scapy.ARP].pdst == "0.0.0.0"
    assert not stack.neighbors.table


@pytest.mark.parametrize(
    "arp",
    [
        {"op": 1, "psrc": "10.0.0.9", "pdst": "10.0.0.2"},  # for somebody else
        {"op": 2, "psrc": "10.0.0.9", "pdst": "10.0.0.1"},  # a reply
        {"op": 1, "psrc": "10.0.0.1", "pdst": "10.0.0.1"},  # our address: conflict
        {"op": 1, "psrc": "10.0.0.9", "pdst": "10.0.0.1", "hwtype": 6},
        {"op": 1, "psrc": "10.0.0.9", "pdst": "10.0.0.1", "ptype": 0x86DD},
    ],
)
def test_arp_that_gets_no_answer(stack: Stack, arp: dict[str, Any]) -> None:
    assert ask(stack, ether() / scapy.ARP(hwsrc=PEER, **arp)) is None


def test_arp_refreshes_but_adds_only_who_speaks_to_us(stack: Stack) -> None:
    def announce(mac: str, target: str) -> None:
        arp = scapy.ARP(op=1, hwsrc=mac, psrc="10.0.0.9", pdst=target)
        ask(stack, ether("ff:ff:ff:ff:ff:ff") / arp)

    announce(PEER, "10.0.0.9")
    assert not stack.neighbors.table
    announce(PEER, "10.0.0.1")
    announce("b2:a0:00:00:00:77", "10.0.0.9")
    assert list(stack.neighbors.table.values()) == [bytes.fromhex("b2a000000077")]


def test_neighbors_are_bounded(stack: Stack) -> None:
    for number in range(1000):
        source = f"10.0.{number // 250 + 1}.{number % 250 + 1}"
        arp = scapy.ARP(op=1, hwsrc=PEER, psrc=source, pdst="10.0.0.1")
        assert stack.input(bytes(ether() / arp))
    assert len(stack.neighbors.table) == 256


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_icmp_echo(stack: Stack, size: int) -> None:
    load = bytes(i & 255 for i in range(size))
    echo = scapy.ICMP(id=7, seq=9) / load
    question = ether() / scapy.IP(src="10.0.0.9", dst="10.0.0.1") / echo
    answer = ask(stack, question)
    assert (answer.src, answer.dst) == (MAC, PEER)
    assert (answer[scapy.IP].src, answer[scapy.IP].dst) == ("10.0.0.1", "10.0.0.9")
    icmp = answer[scapy.ICMP]
    assert (icmp.type, icmp.code, icmp.id, icmp.seq) == (0, 0, 7, 9)
    assert bytes(icmp.payload) == load


def test_padding_is_not_echoed(stack: Stack) -> None:
    question = ether() / scapy.IP(src="10.0.0.9", dst="10.0.0.1") / scapy.ICMP()
    answer = stack.input(bytes(question).ljust(60, b"\xaa"))
    assert len(answer[0]) == len(bytes(question))


PING4 = {"src": "10.0.0.9", "dst": "10.0.0.1"}


@pytest.mark.parametrize(
    ("outer", "ip", "icmp"),
    [
        ({}, {**PING4, "dst": "10.0.0.2"}, {}),
        ({}, {**PING4, "dst": "10.0.0.255"}, {}),
        ({}, {**PING4, "dst": "255.255.255.255"}, {}),
        ({}, {**PING4, "dst": "224.0.0.1"}, {}),
        ({"dst": "ff:ff:ff:ff:ff:ff"}, PING4, {}),
        ({"dst": PEER}, PING4, {}),
        ({"src": "01:00:5e:00:00:01"}, PING4, {}),
        ({}, {**PING4, "src": "10.0.0.255"}, {}),
        ({}, {**PING4, "src": "255.255.255.255"}, {}),
        ({}, {**PING4, "src": "224.0.0.1"}, {}),
        ({}, {**PING4, "src": "0.0.0.0"}, {}),
        ({}, {**PING4, "src": "127.0.0.1"}, {}),
        ({}, {**PING4, "src": "10.0.0.1"}, {}),
        ({}, {**PING4, "flags": "MF"}, {}),
        ({}, {**PING4, "frag": 1}, {}),
        ({}, {**PING4, "chksum": 1}, {}),
        ({}, {**PING4, "version": 5}, {}),
        ({}, {**PING4, "len": 10}, {}),
        ({}, {**PING4, "len": 1000}, {}),
        ({}, {**PING4, "ihl": 4}, {}),
        ({}, PING4, {"chksum": 1}),
        ({}, PING4, {"type": 0}),
        ({}, PING4, {"type": 13}),
        ({}, PING4, {"code": 1}),
    ],
)
def test_icmp_that_gets_no_answer(
    stack: Stack, outer: dict[str, Any], ip: dict[str, Any], icmp: dict[str, Any]
) -> None:
    frame = scapy.Ether(**{"src": PEER, "dst": MAC, **outer})
    assert ask(stack, frame / scapy.IP(**ip) / scapy.ICMP(**icmp) / b"data") is None
    assert not any(stack.answered.values())


def test_tagged_frames_are_not_for_us(stack: Stack) -> None:
    inner = scapy.IP(**PING4) / scapy.ICMP()
    assert ask(stack, ether() / scapy.Dot1Q(vlan=5) / inner) is None
    assert ask(stack, ether() / inner) is not None


def solicit(
    target: str = "2001:db8::1",
    src: str = "fe80::9",
    dst: str = GROUP,
    hlim: int = 255,
    code: int = 0,
    option: bool = True,
) -> Any:
    message = scapy.ICMPv6ND_NS(tgt=target, code=code)
    if option:
        message = message / scapy.ICMPv6NDOptSrcLLAddr(lladdr=PEER)
    return ether(GROUP_MAC) / scapy.IPv6(src=src, dst=dst, hlim=hlim) / message


@pytest.mark.parametrize("target", ["2001:db8::1", LINK_LOCAL])
@pytest.mark.parametrize("option", [True, False])
def test_solicitation(stack: Stack, target: str, option: bool) -> None:
    answer = ask(stack, solicit(target=target, option=option))
    assert (answer.src, answer.dst) == (MAC, PEER)
    ip = answer[scapy.IPv6]
    assert (ip.src, ip.dst, ip.hlim) == (target, "fe80::9", 255)
    advertisement = answer[scapy.ICMPv6ND_NA]
    assert advertisement.tgt == target
    assert (advertisement.R, advertisement.S, advertisement.O) == (0, 1, 1)
    assert answer[scapy.ICMPv6NDOptDstLLAddr].lladdr == MAC
    assert (IPv6Address("fe80::9") in stack.neighbors.table) is option


def test_duplicate_address_detection(stack: Stack) -> None:
    answer = ask(stack, solicit(src="::", option=False))
    assert (answer.dst, answer[scapy.IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
    advertisement = answer[scapy.ICMPv6ND_NA]
    assert (advertisement.S, advertisement.O) == (0, 1)


@pytest.mark.parametrize(
    "question",
    [
        solicit(target="2001:db8::2"),
        solicit(target="ff02::1"),
        solicit(hlim=254),
        solicit(code=1),
        solicit(src="::", option=True),
        solicit(src="::", option=False, dst="ff02::1"),
        solicit(src="ff02::5"),
        solicit(src=LINK_LOCAL),
        solicit(dst="ff02::1:ff00:2"),
        solicit() / b"\x01\x00",  # an option of length 0
        solicit() / b"\x01\x02" / bytes(6),  # one that runs past the end
        solicit() / b"\x01",
    ],
)
def test_solicitation_that_gets_no_answer(stack: Stack, question: Any) -> None:
    assert ask(stack, question) is None


def advertise(stack: Stack, mac: str, solicited: int, override: int) -> None:
    na = scapy.ICMPv6ND_NA(tgt="fe80::9", R=0, S=solicited, O=override)
    option = scapy.ICMPv6NDOptDstLLAddr(lladdr=mac)
    ip = scapy.IPv6(src="fe80::9", dst=LINK_LOCAL, hlim=255)
    assert ask(stack, ether() / ip / na / option) is None


def test_advertisement_teaches(stack: Stack) -> None:
    peer = IPv6Address("fe80::9")
    advertise(stack, PEER, solicited=0, override=1)
    assert peer not in stack.neighbors.table  # nobody asked
    advertise(stack, PEER, solicited=1, override=0)
    assert stack.neighbors.get(peer) == bytes.fromhex("b2a000000099")
    advertise(stack, "b2:a0:00:00:00:77", solicited=1, override=0)
    assert stack.neighbors.get(peer) == bytes.fromhex("b2a000000099")
    advertise(stack, "b2:a0:00:00:00:77", solicited=0, override=1)
    assert stack.neighbors.get(peer) == bytes.fromhex("b2a000000077")


@pytest.mark.parametrize(
    ("dst", "mac", "src", "answers"),
    [
        ("2001:db8::1", MAC, "2001:db8::9", "2001:db8::1"),
        (LINK_LOCAL, MAC, "fe80::9", LINK_LOCAL),
        ("ff02::1", "33:33:00:00:00:01", "fe80::9", LINK_LOCAL),
        ("ff02::1", "33:33:00:00:00:01", "2001:db8::9", "2001:db8::1"),
        (GROUP, GROUP_MAC, "fe80::9", LINK_LOCAL),
    ],
)
@pytest.mark.parametrize("headers", [False, True])
def test_icmp6_echo(
    stack: Stack, dst: str, mac: str, src: str, answers: str, headers: bool
) -> None:
    question = ether(mac) / scapy.IPv6(src=src, dst=dst)
    if headers:
        pad = scapy.PadN(optdata=b"\0\0")
        question = question / scapy.IPv6ExtHdrHopByHop(options=[pad])
        question = question / scapy.IPv6ExtHdrDestOpt(options=[scapy.Pad1(), pad])
    load = b"x" * 56
    answer = ask(stack, question / scapy.ICMPv6EchoRequest(id=3, seq=4, data=load))
    assert (answer.dst, answer[scapy.IPv6].src) == (PEER, answers)
    assert answer[scapy.IPv6].dst == src
    reply = answer[scapy.ICMPv6EchoReply]
    assert (reply.id, reply.seq, reply.data) == (3, 4, load)


def _bad_pings6() -> Iterator[Any]:
    echo = scapy.ICMPv6EchoRequest(data=b"x")
    good = {"src": "2001:db8::9", "dst": "2001:db8::1"}
    for change in (
        {"dst": "2001:db8::2"},
        {"dst": "ff02::2"},
        {"src": "::"},
        {"src": "ff02::1"},
        {"src": "::1"},
        {"src": "2001:db8::1"},
        {"plen": 900},
        {"version": 4},
    ):
        yield ether() / scapy.IPv6(**{**good, **change}) / echo
    ip = ether() / scapy.IPv6(**good)
    yield ip / scapy.ICMPv6EchoRequest(data=b"x", cksum=1)
    yield ip / scapy.ICMPv6EchoRequest(data=b"x", code=1)
    yield ip / scapy.ICMPv6EchoReply(data=b"x")
    yield ip / scapy.IPv6ExtHdrFragment(offset=0, m=1) / echo
    yield ip / scapy.IPv6ExtHdrFragment(offset=0, m=0) / echo
    must = scapy.HBHOptUnknown(otype=0x80, optlen=4, optdata=b"abcd")
    yield ip / scapy.IPv6ExtHdrHopByHop(options=[must]) / echo
    yield ip / scapy.IPv6ExtHdrHopByHop(len=200) / echo
    yield ether(PEER) / scapy.IPv6(**good) / echo


@pytest.mark.parametrize("question", list(_bad_pings6()))
def test_icmp6_that_gets_no_answer(stack: Stack, question: Any) -> None:
    assert ask(stack, question) is None


def ip_pair(version: int) -> Any:
    if version == 4:
        return scapy.IP(src="10.0.0.9", dst="10.0.0.1")
    return scapy.IPv6(src="2001:db8::9", dst="2001:db8::1")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 5, 1400])
def test_udp_echo(stack: Stack, version: int, size: int) -> None:
    question = ether() / ip_pair(version) / scapy.UDP(sport=5000, dport=7)
    answer = ask(stack, question / (b"u" * size))
    udp = answer[scapy.UDP]
    assert (udp.sport, udp.dport, bytes(udp.payload)) == (7, 5000, b"u" * size)
    assert udp.chksum


def test_udp_without_checksum(stack: Stack) -> None:
    udp = scapy.UDP(sport=5000, dport=7, chksum=0) / b"abc"
    assert ask(stack, ether() / ip_pair(4) / udp)[scapy.UDP].chksum
    assert ask(stack, ether() / ip_pair(6) / udp) is None


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "udp",
    [
        {"sport": 5000, "dport": 8},
        {"sport": 7, "dport": 7},
        {"sport": 19, "dport": 7},
        {"sport": 0, "dport": 7},
        {"sport": 5000, "dport": 7, "chksum": 1},
        {"sport": 5000, "dport": 7, "len": 7},
        {"sport": 5000, "dport": 7, "len": 2000},
    ],
)
def test_udp_that_gets_no_answer(
    stack: Stack, version: int, udp: dict[str, Any]
) -> None:
    assert ask(stack, ether() / ip_pair(version) / scapy.UDP(**udp) / b"abc") is None


def test_udp_echo_to_a_group_gets_no_answer(stack: Stack) -> None:
    udp = scapy.UDP(sport=5000, dport=7) / b"abc"
    ip = scapy.IPv6(src="fe80::9", dst="ff02::1")
    assert ask(stack, ether("33:33:00:00:00:01") / ip / udp) is None
    broadcast = ether("ff:ff:ff:ff:ff:ff")
    assert ask(stack, broadcast / scapy.IP(**PING4) / udp) is None


def test_udp_echo_can_be_off() -> None:
    stack = Stack(
        bytes.fromhex("b2a000000001"), [IPv4Interface("10.0.0.1/24")], udp_echo=False
    )
    udp = scapy.UDP(sport=5000, dport=7) / b"abc"
    assert ask(stack, ether() / scapy.IP(**PING4) / udp) is None


@pytest.mark.parametrize("address", ["224.0.0.1/24", "0.0.0.0/8"])
def test_an_address_no_station_has(address: str) -> None:
    with pytest.raises(AddressError, match="single station"):
        Stack(bytes.fromhex("b2a000000001"), [IPv4Interface(address)])
    with pytest.raises(AddressError, match="single station"):
        Stack(b"\xff" * 6)


@given(st.binary(max_size=200))
def test_any_octets_are_survived(frame: bytes) -> None:
    stack = Stack(bytes.fromhex("b2a000000001"), [IPv4Interface("10.0.0.1/24")])
    assert stack.input(frame) == []


HEADS = [
    mac + bytes.fromhex("b2a000000099") + kind
    for mac in (bytes.fromhex("b2a000000001"), b"\x33\x33\xff\x00\x00\x01")
    for kind in (b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00")
]


@given(st.sampled_from(HEADS), st.binary(max_size=120))
def test_any_payload_is_survived(head: bytes, payload: bytes) -> None:
    stack = Stack(bytes.fromhex("b2a000000001"), [IPv4Interface("10.0.0.1/24")])
    for answer in stack.input(head + payload):
        assert len(answer) >= 42


@given(
    st.sampled_from(
        [
            bytes(ether() / scapy.IP(**PING4) / scapy.ICMP() / b"data"),
            bytes(ether() / ip_pair(6) / scapy.ICMPv6EchoRequest(data=b"d")),
            bytes(solicit()),
            bytes(ether() / ip_pair(4) / scapy.UDP(sport=5000, dport=7) / b"d"),
        ]
    ),
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 255)), min_size=1),
    st.integers(0, 100),
)
def test_damaged_questions_are_survived(
    frame: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    stack = Stack(
        bytes.fromhex("b2a000000001"),
        [IPv4Interface("10.0.0.1/24")],
        [IPv6Interface("2001:db8::1/64")],
    )
    damaged = bytearray(frame)
    for at, change in changes:
        damaged[at % len(frame)] ^= change
    stack.input(damaged)
    stack.input(damaged[:cut])
