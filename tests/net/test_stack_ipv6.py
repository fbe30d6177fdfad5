"""The small station's ICMPv6, asked and judged by scapy."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from typing import Any

import pytest

from rumphyper.net.stack import Stack
from tests.net.stations import (
    GROUP,
    GROUP_MAC,
    LINK_LOCAL,
    MAC,
    PEER,
    ask,
    ether,
    scapy,
    solicit,
)


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
