"""Socket options, in and out."""

from __future__ import annotations

import socket
import struct
from typing import Any

from tests.real.scenarios.kit import (
    DGRAM,
    INET,
    INET6,
    LOOPBACK,
    STREAM,
    Net,
    outcome,
    scenario,
    udp,
)


@scenario
def flag_options(net: Net) -> Any:
    results = []
    with net.socket(INET, STREAM) as s:
        for name in ("SO_REUSEADDR", "SO_KEEPALIVE", "SO_OOBINLINE", "SO_REUSEPORT"):
            option = getattr(socket, name)
            before = s.getsockopt(socket.SOL_SOCKET, option)
            s.setsockopt(socket.SOL_SOCKET, option, 1)
            after = s.getsockopt(socket.SOL_SOCKET, option)
            s.setsockopt(socket.SOL_SOCKET, option, 0)
            results.append([before, after, s.getsockopt(socket.SOL_SOCKET, option)])
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        results.append(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
        results.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    with net.socket(INET, DGRAM) as d:
        d.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        results.append(d.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
    return results


@scenario
def number_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET6, DGRAM) as t:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 42)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x10)
        t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 43)
        t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return [
            s.getsockopt(socket.IPPROTO_IP, socket.IP_TTL),
            s.getsockopt(socket.IPPROTO_IP, socket.IP_TOS),
            t.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
            t.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
        ]


@scenario
def keepalive_options(net: Net) -> Any:
    tcp = socket.IPPROTO_TCP
    with net.socket(INET, STREAM) as s:
        return [
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPIDLE, 77)),
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPINTVL, 9)),
            outcome(lambda: s.setsockopt(tcp, socket.TCP_KEEPCNT, 3)),
            outcome(lambda: s.getsockopt(tcp, socket.TCP_KEEPIDLE)),
        ]


@scenario
def structure_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
        raw = s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        on, seconds = struct.unpack("ii", raw)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        return [
            bool(on),
            seconds,
            s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 32768,
            s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 32768,
            len(s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 4)),
        ]


@scenario
def bad_options(net: Net) -> Any:
    with net.socket(INET, STREAM) as s:
        return [
            outcome(lambda: s.setsockopt(socket.SOL_SOCKET, 4711, 1)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, 4711)),
            outcome(lambda: s.getsockopt(socket.IPPROTO_TCP, 4711)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 5000)),
            outcome(lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, -1)),
            outcome(lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 1)),
            outcome(
                lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\0\0\0")
            ),
        ]


@scenario
def multicast(net: Net) -> Any:
    group = socket.inet_aton("239.1.2.3")
    with udp(net) as (a, b):
        mreq = group + socket.inet_aton(LOOPBACK)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 3)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        a.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK)
        )
        return [
            a.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
            ),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, mreq)
            ),
            outcome(
                lambda: b.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, mreq)
            ),
        ]
