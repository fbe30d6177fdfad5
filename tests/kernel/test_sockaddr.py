"""Addresses to and from NetBSD's layout; the kernel itself judges in tests/real."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.kernel import sockaddr
from rumphyper.kernel.sockaddr import INET, INET6, LOCAL, pack, unpack

PORTS = st.integers(0, 65535)


def test_layouts() -> None:
    """Octet by octet: NetBSD sys/netinet/in.h, sys/netinet6/in6.h, sys/sys/un.h."""
    assert pack(INET, ("10.1.2.3", 0x1234)) == bytes(
        [16, 2, 0x12, 0x34, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0]
    )
    flow = 0xABCDE
    six = pack(INET6, ("2001:db8::7", 80, flow, 5))
    assert six[:4] == bytes([28, 24, 0, 80])
    assert six[4:8] == flow.to_bytes(4, "big")
    assert six[8:24] == socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    assert six[24:] == struct.pack("=I", 5)
    assert pack(LOCAL, "/a/b") == b"\x06\x01/a/b"
    assert len(pack(LOCAL, "x" * 253)) == 255


@given(st.ip_addresses(v=4), PORTS)
def test_ipv4_there_and_back(host: object, port: int) -> None:
    assert unpack(pack(INET, (str(host), port))) == (str(host), port)


@given(st.ip_addresses(v=6), PORTS, st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFFFFF))
def test_ipv6_there_and_back(host: object, port: int, flow: int, zone: int) -> None:
    found = unpack(pack(INET6, (str(host), port, flow, zone)))
    text = socket.inet_ntop(
        socket.AF_INET6, socket.inet_pton(socket.AF_INET6, str(host))
    )
    assert found == (text, port, flow, zone)


@given(st.binary(min_size=1, max_size=253).filter(lambda path: b"\0" not in path))
def test_paths_there_and_back(path: bytes) -> None:
    assert unpack(pack(LOCAL, path)) == os.fsdecode(path)
    assert unpack(pack(LOCAL, os.fsdecode(path)) + b"\0") == os.fsdecode(path)


@given(st.binary(max_size=300))
def test_any_octets(raw: bytes) -> None:
    """What the kernel (or a remote one) hands over is parsed or refused."""
    short = len(raw) > 1 and len(raw) < {INET: 8, INET6: 28}.get(raw[1], 0)
    if short:
        with pytest.raises(ValueError, match="octets"):
            unpack(raw)
    else:
        unpack(raw)


def test_zones() -> None:
    assert sockaddr.parse_ipv6("fe80::1%7")[1] == 7
    assert sockaddr.parse_ipv6("fe80::1%shmif0", len)[1] == 6
    with pytest.raises(OSError, match="shmif0"):
        sockaddr.parse_ipv6("fe80::1%shmif0")


def test_hosts() -> None:
    assert sockaddr.parse_ipv4("") == bytes(4)
    assert sockaddr.parse_ipv4("<broadcast>") == b"\xff" * 4
    assert sockaddr.parse_ipv4("localhost") == bytes([127, 0, 0, 1])
    assert sockaddr.parse_ipv4("10.1") == bytes([10, 0, 0, 1])
    for host in ("10.0.0.256", "host.example", "1.2.3.4 x", "1.2.3.4\0", "☃"):
        with pytest.raises(socket.gaierror, match="numeric"):
            sockaddr.parse_ipv4(host)
        with pytest.raises(socket.gaierror, match="numeric"):
            sockaddr.parse_ipv6(host)
    with pytest.raises(TypeError):
        sockaddr.parse_ipv4(3)


def test_unknown_family() -> None:
    with pytest.raises(OSError, match="bad family"):
        pack(99, "x")
    assert unpack(b"\x04\x63ab") == b"\x04\x63ab"
    assert unpack(b"") is None
