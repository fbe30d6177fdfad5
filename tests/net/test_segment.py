"""Cutting joined frames: scapy judges what comes out."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

scapy = pytest.importorskip("scapy.all")

from rumphyper.net.segment import frames_of  # noqa: E402
from rumphyper.net.vnet import HEADER  # noqa: E402

MACS = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
TAGGED = scapy.Ether(**MACS) / scapy.Dot1Q(vlan=7)
FOUR = {"src": "10.0.0.1", "dst": "10.0.0.2"}
SIX = {"src": "fd00::1", "dst": "fd00::2"}
OPTIONS = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]


def joined(packet, layer, kind: int, size: int) -> bytes:  # type: ignore[no-untyped-def]
    octets = bytes(packet)
    begin = len(octets) - len(bytes(packet[layer]))
    field = 6 if layer is scapy.UDP else 16
    octets = octets[: begin + field] + b"\xab\xcd" + octets[begin + field + 2 :]
    return HEADER.pack(1, kind, 0, size, begin, field) + octets


def check(frames: list[bytes]) -> list:  # type: ignore[type-arg]
    """Each frame taken apart; lengths and checksums are what scapy computes."""
    found = []
    for octets in frames:
        packet = scapy.Ether(octets)
        again = scapy.Ether(octets)
        for layer in (scapy.IP, scapy.IPv6, scapy.TCP, scapy.UDP):
            if layer in again:
                for field in ("len", "plen", "chksum"):
                    if field in again[layer].fields:
                        del again[layer].fields[field]
        assert bytes(again) == octets
        found.append(packet)
    return found


@pytest.mark.parametrize("ether", [scapy.Ether(**MACS), TAGGED])
@pytest.mark.parametrize(("ip", "kind"), [(scapy.IP(**FOUR, id=65535), 1),
                                          (scapy.IPv6(**SIX), 4)])  # fmt: skip
def test_tcp(ether, ip, kind: int) -> None:  # type: ignore[no-untyped-def]
    data = random.Random(1).randbytes(3001)
    tcp = scapy.TCP(sport=5, dport=6, seq=0xFFFFFF00, flags="CPFA", options=OPTIONS)
    frames = frames_of(joined(ether / ip / tcp / data, scapy.TCP, kind | 0x80, 1000))
    packets = check(frames)
    assert [bytes(one[scapy.TCP].payload) for one in packets] == [
        data[:1000], data[1000:2000], data[2000:3000], data[3000:]
    ]  # fmt: skip
    assert [one[scapy.TCP].seq for one in packets] == [
        0xFFFFFF00, 0x2E8, 0x6D0, 0xAB8
    ]  # fmt: skip
    flags = [str(one[scapy.TCP].flags) for one in packets]
    assert flags == ["AC", "A", "A", "FPA"]
    if kind == 1:
        assert [one[scapy.IP].id for one in packets] == [65535, 0, 1, 2]
    assert all(one[scapy.TCP].options == OPTIONS for one in packets)


@pytest.mark.parametrize("ip", [scapy.IP(**FOUR), scapy.IPv6(**SIX)])
def test_udp(ip) -> None:  # type: ignore[no-untyped-def]
    data = random.Random(2).randbytes(2500)
    packet = scapy.Ether(**MACS) / ip / scapy.UDP(sport=1, dport=2) / data
    packets = check(frames_of(joined(packet, scapy.UDP, 5, 1200)))
    assert [len(one[scapy.UDP].payload) for one in packets] == [1200, 1200, 100]
    assert b"".join(bytes(one[scapy.UDP].payload) for one in packets) == data


def test_one_frame_that_is_complete_stays_as_it_is() -> None:
    assert frames_of(bytes(10) + b"x" * 60) == [b"x" * 60]
    assert frames_of(bytes(9)) == []


@given(st.binary(min_size=10, max_size=300), st.sampled_from([1, 4, 5, 0x81, 3]))
def test_no_header_makes_it_fail(octets: bytes, kind: int) -> None:
    for ethertype in (b"\x08\x00", b"\x86\xdd", b"\x81\x00"):
        frame = octets[10:22] + ethertype + octets[22:]
        head = octets[:1] + bytes([kind]) + octets[2:10]
        assert all(len(one) <= len(frame) for one in frames_of(head + frame))
        for begin in (0, 14, 34, 54, 60, len(frame) - 8):
            small = struct.pack("=BBHHHH", 1, kind, 0, 7, max(begin, 0), 16)
            assert all(len(one) <= len(frame) for one in frames_of(small + frame))
