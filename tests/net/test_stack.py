"""The small station's ARP and ICMP, asked and judged by scapy."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import Any

import pytest

from rumphyper.net import AddressError
from rumphyper.net.stack import Stack
from tests.net.stations import MAC, PEER, PING4, ask, ether, scapy


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


@pytest.mark.parametrize("address", ["224.0.0.1/24", "0.0.0.0/8"])
def test_an_address_no_station_has(address: str) -> None:
    with pytest.raises(AddressError, match="single station"):
        Stack(bytes.fromhex("b2a000000001"), [IPv4Interface(address)])
    with pytest.raises(AddressError, match="single station"):
        Stack(b"\xff" * 6)
