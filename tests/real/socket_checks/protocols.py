"""Raw sockets, addresses, options and ancillary data."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

import pytest

from rumphyper.kernel.constants import HOST_TIMESTAMP, Native
from rumphyper.net.checksum import checksum
from tests.real.socket_checks.kit import LOOPBACK, check, loopback_index


@check
def raw_icmp(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        assert raw.proto == socket.IPPROTO_ICMP
        raw.settimeout(5)
        body = struct.pack("!HH", 4711, 1) + b"payload"
        head = struct.pack("!BBH", 8, 0, 0)
        total = checksum(head + body)
        raw.sendto(struct.pack("!BBH", 8, 0, total) + body, (LOOPBACK, 0))
        while True:
            packet, sender = raw.recvfrom(2000)
            length = (packet[0] & 15) * 4
            if packet[length] == 0:  # the request is seen as well
                break
        assert sender[0] == LOOPBACK
        assert packet[length + 4 :] == body


@check
def raw_icmpv6(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.settimeout(5)
        only_replies = bytearray(b"\xff" * 32)
        only_replies[129 // 8] &= ~(1 << 129 % 8) & 0xFF  # Linux: 0 lets pass
        raw.setsockopt(socket.IPPROTO_ICMPV6, 1, bytes(only_replies))
        assert raw.getsockopt(socket.IPPROTO_ICMPV6, 1, 32) == bytes(only_replies)
        body = struct.pack("!HH", 4712, 1) + b"payload"
        raw.sendto(struct.pack("!BBH", 128, 0, 0) + body, ("::1", 0))
        packet, sender = raw.recvfrom(2000)
        assert packet[0] == 129, "the filter lets nothing else pass"
        assert packet[4:] == body
        assert sender[0] == "::1"


@check
def scope_by_name(kernel: Any) -> None:
    index = loopback_index(kernel)
    with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as named:
        named.bind(("fe80::1%lo0", 0))
        assert named.getsockname()[0] == "fe80::1"
        assert named.getsockname()[3] == index
        with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as numbered:
            numbered.bind(("fe80::1", 0, 0, index))
            numbered.sendto(b"scoped", named.getsockname())
            named.settimeout(5)
            data, sender = named.recvfrom(100)
            assert (data, sender) == (b"scoped", numbered.getsockname())
    with pytest.raises(OSError, match="No such device") as caught:
        kernel.getaddrinfo("fe80::1%nosuch0", 1)
    assert caught.value.errno == errno.ENXIO


@check
def getaddrinfo(kernel: Any) -> None:
    for arguments in (
        (LOOPBACK, 80),
        ("::1", "80", 0, socket.SOCK_STREAM),
        (None, 80, socket.AF_INET, socket.SOCK_DGRAM, 0, socket.AI_PASSIVE),
        (b"127.0.0.1", None),
    ):
        ours = kernel.getaddrinfo(*arguments)
        theirs = socket.getaddrinfo(*arguments)
        assert ours == theirs
    local = kernel.getaddrinfo("localhost", 1, 0, socket.SOCK_STREAM)
    assert [info[4][0] for info in local] == [LOOPBACK, "::1"]
    only6 = kernel.getaddrinfo("localhost", 1, socket.AF_INET6, socket.SOCK_STREAM)
    assert [info[4][0] for info in only6] == ["::1"]
    zoned = kernel.getaddrinfo("fe80::1%lo0", 1, 0, socket.SOCK_DGRAM)
    assert zoned[0][4][3] == loopback_index(kernel)
    for host, port in (("www.example.org", 80), (LOOPBACK, "http"), ("256.1.1.1", 1)):
        with pytest.raises(socket.gaierror):
            kernel.getaddrinfo(host, port)
    with kernel.socket() as sock, pytest.raises(socket.gaierror, match="no resolver"):
        sock.connect(("www.example.org", 80))


@check
def abstract_addresses(kernel: Any) -> None:
    with kernel.socket(socket.AF_UNIX) as sock:
        with pytest.raises(OSError, match="abstract") as caught:
            sock.bind("\0name")
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(ValueError, match="null byte"):
            sock.bind("/a\0b")
        longest = "/" + "x" * 252
        with pytest.raises(FileNotFoundError):
            sock.connect(longest)
        with pytest.raises(OSError, match="too long"):
            sock.connect(longest + "x")


@check
def native_options(kernel: Any) -> None:
    """What the host has no name for goes by NetBSD's own numbers."""
    level, option, low = Native(0), Native(19), 2  # IP_PORTRANGE, IP_PORTRANGE_LOW
    with kernel.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(level, option, low)
        assert sock.getsockopt(level, option) == low
        sock.bind((LOOPBACK, 0))
        assert 0 < sock.getsockname()[1] < 1024


@check
def peer_credentials(kernel: Any) -> None:
    path = "/sockets/credentials"
    with (
        kernel.socket(socket.AF_UNIX) as server,
        kernel.socket(socket.AF_UNIX) as client,
    ):
        server.bind(path)
        server.listen()
        client.connect(path)
        raw = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert struct.unpack("iII", raw) == (kernel.syscall("getpid"), 0, 0)
    kernel.calls.do("unlink", path.encode())


@check
def ancillary_data(kernel: Any) -> None:
    with kernel.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.settimeout(5)
        level = socket.IPPROTO_IPV6
        sock.setsockopt(level, socket.IPV6_RECVPKTINFO, 1)
        sock.setsockopt(level, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.SOL_SOCKET, HOST_TIMESTAMP, 1)
        hops = struct.pack("i", 17)
        sock.sendmsg(
            [b"x"], [(level, socket.IPV6_HOPLIMIT, hops)], 0, sock.getsockname()
        )
        _, items, flags, _ = sock.recvmsg(10, 1000)
        found = {(lvl, kind): data for lvl, kind, data in items}
        assert flags == 0
        address, index = struct.unpack("16si", found[level, socket.IPV6_PKTINFO])
        assert address == socket.inet_pton(socket.AF_INET6, "::1")
        assert index == loopback_index(kernel)
        assert struct.unpack("i", found[level, socket.IPV6_HOPLIMIT]) == (17,)
        assert (socket.SOL_SOCKET, HOST_TIMESTAMP) in found
        sock.sendto(b"y", sock.getsockname())
        assert sock.recvmsg(10, 12)[2] & socket.MSG_CTRUNC
