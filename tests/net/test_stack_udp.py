"""The small station's UDP echo, and frames that mean it harm."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.net.stack import Stack
from tests.net.stations import PING4, ask, ether, ip_pair, scapy, solicit


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
