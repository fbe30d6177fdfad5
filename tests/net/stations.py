"""The small station that tests ask, and how they ask it."""

from __future__ import annotations

from typing import Any

import pytest

from rumphyper.net.stack import Stack

scapy = pytest.importorskip("scapy.all", reason="scapy is not installed")

MAC = "b2:a0:00:00:00:01"
PEER = "b2:a0:00:00:00:99"
LINK_LOCAL = "fe80::b0a0:ff:fe00:1"
GROUP_MAC = "33:33:ff:00:00:01"
GROUP = "ff02::1:ff00:1"
PING4 = {"src": "10.0.0.9", "dst": "10.0.0.1"}


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


def ip_pair(version: int) -> Any:
    if version == 4:
        return scapy.IP(src="10.0.0.9", dst="10.0.0.1")
    return scapy.IPv6(src="2001:db8::9", dst="2001:db8::1")


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
