"""The lines of frames against those of the real tcpdump."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.link.pcapread import PcapReader
from rumphyper.net.describe import describe, format_time, hex_lines
from tests.judges import tool

scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")

A, B, ALL = "b2:a0:00:00:00:01", "b2:a0:00:00:00:02", "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"
MSS = ("MSS", 1460)
STAMPS = ("Timestamp", (1, 2))


def ether(**fields: Any) -> Any:
    return scapy.Ether(**{"src": A, "dst": B, **fields})


def arp(op: int = 1, hwdst: str = NOBODY, psrc: str = "10.0.0.1") -> Any:
    return scapy.ARP(op=op, hwsrc=A, psrc=psrc, pdst="10.0.0.2", hwdst=hwdst)


def ip4(**fields: Any) -> Any:
    return scapy.IP(**{"src": "10.0.0.1", "dst": "10.0.0.2", **fields})


def ip6(**fields: Any) -> Any:
    return scapy.IPv6(**{"src": "2001:db8::1", "dst": "2001:db8::2", **fields})


def tcp(flags: str, **fields: Any) -> Any:
    return scapy.TCP(sport=81, dport=5000, seq=1000, ack=5, flags=flags, **fields)


UDP = scapy.UDP(sport=5000, dport=9)
INNER = scapy.IP(src="10.0.0.2", dst="10.0.0.9") / scapy.UDP(sport=5, dport=6)
INNER6 = scapy.IPv6(src="2001:db8::2", dst="2001:db8::9") / scapy.UDP(sport=5, dport=6)
SLLA = scapy.ICMPv6NDOptSrcLLAddr(lladdr=A)
PAD = scapy.PadN(optdata=b"\0\0")

FRAMES = [
    ether(dst=ALL) / arp(),
    ether() / arp(op=2),
    ether(dst=ALL) / arp(psrc="0.0.0.0"),
    ether() / arp(hwdst=B),
    ether() / arp(op=3),
    ether() / ip4() / scapy.ICMP(id=1, seq=2) / b"data",
    ether() / ip4() / scapy.ICMP(type=0, id=1, seq=2) / b"data",
    *(ether() / ip4() / scapy.ICMP(type=3, code=n) / INNER for n in (0, 1, 2, 3, 4)),
    ether() / ip4() / scapy.ICMP(type=11) / INNER,
    ether() / ip4() / scapy.ICMP(type=77),
    ether() / ip4(chksum=4) / scapy.ICMP(),
    ether() / ip4() / UDP / b"hello",
    ether() / ip4() / UDP,
    ether() / ip4() / tcp("S", options=[MSS, ("SAckOK", b""), STAMPS, ("WScale", 7)]),
    ether() / ip4() / tcp("SA"),
    ether() / ip4() / tcp("A", options=[("NOP", None), ("SAck", (5, 10, 20, 30))]),
    ether() / ip4() / tcp("PA") / b"hello",
    ether() / ip4() / tcp("FPUA", urgptr=3) / b"hello",
    ether() / ip4() / tcp("R"),
    ether() / ip4() / tcp(""),
    ether() / ip4() / tcp("SEC"),
    ether() / ip4(flags="MF") / UDP / b"hello123",
    ether() / ip4(frag=100, proto=17) / b"hello123",
    ether() / ip4(proto=253) / b"hello123",
    ether() / ip4(len=200) / scapy.ICMP(id=1, seq=2) / b"data",
    ether() / ip6() / scapy.ICMPv6EchoRequest(id=1, seq=2, data=b"data"),
    ether() / ip6() / scapy.ICMPv6EchoReply(id=1, seq=2, data=b"data"),
    ether() / ip6() / scapy.ICMPv6ND_NS(tgt="2001:db8::2") / SLLA,
    ether() / ip6() / scapy.ICMPv6ND_NA(tgt="2001:db8::2"),
    ether() / ip6() / scapy.ICMPv6ND_RS(),
    ether() / ip6() / scapy.ICMPv6ND_RA(),
    ether() / ip6() / scapy.ICMPv6DestUnreach(code=3) / INNER6,
    ether() / ip6() / scapy.ICMPv6TimeExceeded(code=0) / INNER6,
    ether() / ip6() / scapy.ICMPv6PacketTooBig(mtu=1280) / INNER6,
    ether() / ip6() / UDP / b"hello",
    ether() / ip6() / tcp("S"),
    ether() / ip6() / scapy.IPv6ExtHdrHopByHop(options=[PAD]) / UDP,
    ether() / ip6() / scapy.IPv6ExtHdrFragment(offset=10, id=7, nh=17) / b"hello",
    ether() / ip6(nh=253) / b"abcdef",
    ether() / ip6(nh=59),
    ether() / scapy.Dot1Q(vlan=5, prio=3) / ip4() / UDP / b"hello",
    ether() / scapy.Dot1Q(vlan=5, dei=1) / arp(),
    ether() / scapy.Dot1AD(vlan=7) / scapy.Dot1Q(vlan=5) / ip4() / UDP,
    ether(type=0x88B5) / b"hello hello hello",
    ether(type=0x88B6),
]


def theirs(path: Path) -> list[str]:
    """Return tcpdump's lines, its lines of hexadecimal left out."""
    run = subprocess.run(
        [tool("tcpdump"), "-S", "-n", "-e", "-r", str(path)],
        capture_output=True, text=True, check=True, timeout=30,
        env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    lines = [line for line in run.stdout.splitlines() if not line.startswith("\t")]
    return [re.sub(" +", " ", line).rstrip(" :,") for line in lines]


def test_tcpdump_prints_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    path = tmp_path / "x.pcap"
    with scapy.RawPcapWriter(str(path), linktype=1) as writer:
        writer.write_header(None)
        for number, frame in enumerate(FRAMES):
            writer.write_packet(bytes(frame), sec=1_700_000_000 + number, usec=123456)
    with PcapReader(str(path)) as link:
        stamped = link.recv_stamped(limit=100)
    ours = [f"{format_time(stamp)} {describe(frame)}" for stamp, frame in stamped]
    assert ours == theirs(path)


def test_cut_frames(tmp_path: Path) -> None:
    """A frame of which the capture has the headers only has its whole length."""
    for frame, headers in (
        (ether() / ip4() / UDP / bytes(500), 42),
        (ether() / ip6() / tcp("A") / bytes(500), 74),
        (ether() / ip4() / scapy.ICMP(id=1, seq=2) / bytes(500), 42),
    ):
        data = bytes(frame)
        assert describe(data[:headers], len(data)) == describe(data)
        assert "truncated" in describe(data[:headers])


def test_hexadecimal_as_tcpdump_prints_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    frame = bytes(ether(dst=ALL) / arp())
    scapy.wrpcap(str(path), [scapy.Ether(frame)])
    run = subprocess.run(
        [tool("tcpdump"), "-n", "-xx", "-r", str(path)],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert list(hex_lines(frame)) == [
        line.rstrip() for line in run.stdout.splitlines()[1:]
    ]


@given(st.binary(max_size=120))
def test_any_octets_have_a_line(data: bytes) -> None:
    line = describe(data)
    assert line
    assert line.isprintable()


@given(
    st.sampled_from([bytes(frame) for frame in FRAMES]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4),
    st.integers(0, 200),
    st.integers(0, 2000),
)
def test_damaged_and_cut_frames_have_a_line(
    good: bytes, changes: list[tuple[int, int]], cut: int, length: int
) -> None:
    damaged = bytearray(good)
    for at, change in changes:
        damaged[at % len(good)] ^= change
    assert describe(damaged[:cut], length).isprintable()


@given(st.integers())
def test_any_time_is_printed(time_ns: int) -> None:
    assert re.fullmatch(r"-?[\d:]+\.\d{6}", format_time(time_ns))


def test_a_time_beyond_the_calendar() -> None:
    assert format_time(10**30 + 7000) == "1000000000000000000000.000007"
