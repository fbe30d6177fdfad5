"""Making sockets, giving them away, and their addresses."""

# ruff: noqa: PLW0108, SIM117 - all cases are written in one form

from __future__ import annotations

import socket
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
def make(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET6, DGRAM) as d:
        return [
            [int(s.family), int(s.type), s.proto, repr(s.family), repr(s.type)],
            [int(d.family), int(d.type), d.proto, s.fileno() >= 0, s.gettimeout()],
        ]


@scenario
def make_nonblocking(net: Net) -> Any:
    with net.socket(INET, DGRAM | socket.SOCK_NONBLOCK) as s:
        return [
            int(s.type),
            s.gettimeout(),
            s.getblocking(),
            outcome(lambda: s.recv(1)),
        ]


@scenario
def bad_family(net: Net) -> Any:
    return outcome(lambda: net.socket(99, STREAM))


@scenario
def closed_socket(net: Net) -> Any:
    s = net.socket(INET, DGRAM)
    s.close()
    s.close()
    return [
        s.fileno(),
        outcome(lambda: s.recv(1)),
        outcome(lambda: s.send(b"x")),
        outcome(lambda: s.bind((LOOPBACK, 0))),
        outcome(lambda: s.getsockname()),
        outcome(lambda: s.listen()),
        outcome(lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)),
        outcome(lambda: s.sendto(b"x", (LOOPBACK, 9))),
        outcome(lambda: s.accept()),
    ]


@scenario
def detach(net: Net) -> Any:
    s = net.socket(INET, DGRAM)
    fd = s.detach()
    first = [fd >= 0, s.fileno(), outcome(lambda: s.recv(1))]
    with net.adopt(fd) as again:
        again.bind((LOOPBACK, 0))
        return [first, int(again.family), int(again.type), again.getsockname()[0]]


@scenario
def dup(net: Net) -> Any:
    with udp(net) as (a, b):
        with b.dup() as c:
            different = c.fileno() != b.fileno()
            b.close()
            a.sendto(b"still", c.getsockname())
            return [different, c.recv(10).decode()]


@scenario
def bad_addresses(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET6, DGRAM) as t:
        return [
            outcome(lambda: s.bind(LOOPBACK)),
            outcome(lambda: s.bind((LOOPBACK,))),
            outcome(lambda: s.bind((LOOPBACK, 1, 2))),
            outcome(lambda: s.bind((LOOPBACK, "http"))),
            outcome(lambda: s.bind((LOOPBACK, 65536))),
            outcome(lambda: s.bind((LOOPBACK, -1))),
            outcome(lambda: s.bind((5, 0))),
            outcome(lambda: s.bind(("192.0.2.1", 0))),
            outcome(lambda: s.bind(None)),
            outcome(lambda: t.bind(("::1", 0, 1 << 20))),
            outcome(lambda: t.bind(("::1", 0, 0, 0, 0))),
            outcome(lambda: t.bind("::1")),
            outcome(lambda: s.sendto(b"x")),
            outcome(lambda: s.sendto(b"x", 0, (LOOPBACK, 9), 1)),
            outcome(lambda: s.sendto("x", (LOOPBACK, 9))),
        ]


@scenario
def any_address(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET6, DGRAM) as t:
        fresh = [s.getsockname(), t.getsockname()]
        s.bind(("", 0))
        t.bind(("", 0))
        return [fresh, s.getsockname()[0], t.getsockname()[0], s.getsockname()[1] > 0]


@scenario
def short_address(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind(("127.1", 0))
        return s.getsockname()[0]


@scenario
def bytes_host(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind((b"127.0.0.1", 0))
        return s.getsockname()[0]


@scenario
def bind_twice(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        s.bind((LOOPBACK, 0))
        return outcome(lambda: s.bind((LOOPBACK, 0)))


@scenario
def address_in_use(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET, STREAM) as t:
        s.bind((LOOPBACK, 0))
        s.listen()
        return outcome(lambda: t.bind(s.getsockname()))


@scenario
def udp_address_in_use(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET, DGRAM) as t:
        s.bind((LOOPBACK, 0))
        return outcome(lambda: t.bind(s.getsockname()))


@scenario
def reuse_port(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s, net.socket(INET, DGRAM) as t:
        for one in (s, t):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind((LOOPBACK, 0))
        return outcome(lambda: t.bind(s.getsockname()))
