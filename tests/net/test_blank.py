"""Checksums that a sender has left out, against scapy's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from rumphyper.net.blank import fill_checksum

IP4, IP6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fe80::1", dst="fe80::2")
BELOW: dict[str, Any] = {
    "IPv4": Ether() / IP4,
    "VLAN": Ether() / Dot1Q(vlan=5) / IP4,
    "options": Ether() / IP(src="10.0.0.1", dst="10.0.0.2", options=b"\1\1\1\0"),
    "IPv6": Ether() / IP6,
    "headers": Ether() / IP6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
}


@pytest.mark.parametrize("below", BELOW)
@pytest.mark.parametrize(("above", "place"), [(TCP(), 16), (UDP(), 6)])
@pytest.mark.parametrize("payload", [b"", b"odd", bytes(range(200))])
def test_what_is_left_out_is_filled_in(
    below: str, above: Any, place: int, payload: bytes
) -> None:
    packet = BELOW[below] / above / Raw(payload)
    right = bytes(packet)
    at = len(right) - len(payload) - len(bytes(above)) + place
    blank = right[:at] + b"\xab\xcd" + right[at + 2 :]  # what was there is ignored
    assert fill_checksum(blank) == right
    assert fill_checksum(blank + bytes(6)) == right + bytes(6)  # padding stays


@pytest.mark.parametrize(
    "packet",
    [
        Ether() / ARP(),
        Ether() / IP4 / ICMP(),
        Ether() / IP(frag=10, dst="10.0.0.2") / Raw(bytes(40)),
        Ether() / IP(flags="MF", dst="10.0.0.2", proto=17) / Raw(bytes(40)),
    ],
)
def test_other_frames_stay_as_they_are(packet: Any) -> None:
    assert fill_checksum(bytes(packet)) == bytes(packet)


@given(
    frame=st.binary(max_size=90),
    kind=st.sampled_from([b"\x08\0\x45", b"\x86\xdd\x60", b"\x81\0\0\0\x08\0\x4f"]),
)
def test_noise_keeps_its_length(frame: bytes, kind: bytes) -> None:
    noise = frame[:12].ljust(12, b"\0") + kind + frame[12:]
    assert len(fill_checksum(noise)) == len(noise)
