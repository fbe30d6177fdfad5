"""IPv6 and local sockets."""

# ruff: noqa: RUF059 - all cases are written in one form

from __future__ import annotations

import socket
import struct
from typing import Any

from tests.real.scenarios.kit import (
    DGRAM,
    INET6,
    STREAM,
    UNIX,
    Net,
    exactly,
    outcome,
    scenario,
    tcp,
    udp,
)


@scenario
def ipv6(net: Net) -> Any:
    with tcp(net, INET6, "::1") as (client, served):
        client.sendall(b"six")
        name = client.getsockname()
        got = exactly(served, 3).decode()
        with udp(net, INET6, "::1") as (a, b):
            a.sendto(b"datagram", b.getsockname()[:2])
            data, sender = b.recvfrom(100)
            return [got, name[0], name[2:], data.decode(), sender == a.getsockname()]


@scenario
def ipv6_bad(net: Net) -> Any:
    with net.socket(INET6, DGRAM) as s:
        return [
            outcome(lambda: s.bind(("2001:db8::1", 0))),
            outcome(lambda: s.bind(("fe80::1", 0))),
            outcome(lambda: s.connect(("::1", 9, 0, 0))),
            s.getpeername(),
        ]


@scenario
def pair(net: Net) -> Any:
    results = []
    for kind in (STREAM, DGRAM, socket.SOCK_SEQPACKET):
        a, b = net.socketpair(UNIX, kind)
        with a, b:
            a.sendall(b"ping")
            got = b.recv(10).decode()
            b.send(b"pong")
            results.append([got, a.recv(10).decode(), a.getsockname(), b.getpeername()])
    return results


@scenario
def pair_ends(net: Net) -> Any:
    a, b = net.socketpair(UNIX, STREAM)
    with a, b:
        b.close()
        return [outcome(lambda: a.recv(1).decode()), outcome(lambda: a.send(b"x"))]


@scenario
def local_stream(net: Net) -> Any:
    path = net.path("stream")
    with net.socket(UNIX, STREAM) as server, net.socket(UNIX, STREAM) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        served, peer = server.accept()
        with served:
            served.sendall(b"local")
            results = [
                exactly(client, 5).decode(),
                peer,
                client.getpeername() == path,
                server.getsockname() == path,
                client.getsockname(),
            ]
        with net.socket(UNIX, STREAM) as again:
            results.append(outcome(lambda: again.bind(path)))
    net.unlink(path)
    return results


@scenario
def local_datagrams(net: Net) -> Any:
    one, two = net.path("one"), net.path("two")
    with net.socket(UNIX, DGRAM) as a, net.socket(UNIX, DGRAM) as b:
        a.bind(one)
        b.bind(two.encode())
        a.sendto(b"x" * 1000, two)
        data, sender = b.recvfrom(2000)
        results = [len(data), sender == one]
    net.unlink(one)
    net.unlink(two)
    return results


@scenario
def local_bad(net: Net) -> Any:
    with net.socket(UNIX, STREAM) as s:
        return [
            outcome(lambda: s.connect(net.path("nobody"))),
            outcome(lambda: s.connect(net.path("no/folder"))),
            outcome(lambda: s.bind(net.path("no/folder"))),
            outcome(lambda: s.connect(("x", 1))),
            outcome(lambda: s.bind("/x" * 200)),
        ]


@scenario
def local_refused(net: Net) -> Any:
    path = net.path("dead")
    with net.socket(UNIX, STREAM) as s:
        s.bind(path)
    with net.socket(UNIX, STREAM) as s:
        result = outcome(lambda: s.connect(path))
    net.unlink(path)
    return result


@scenario
def descriptors_travel(net: Net) -> Any:
    import array

    a, b = net.socketpair(UNIX, STREAM)
    with a, b, udp(net) as (c, d):
        rights = array.array("i", [d.fileno()])
        a.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        data, anc, flags, _ = b.recvmsg(10, socket.CMSG_SPACE(4))
        level, kind, raw = anc[0]
        fd = struct.unpack("i", raw[:4])[0]
        with net.adopt(fd) as e:
            e.settimeout(5)
            c.sendto(b"through", d.getsockname())
            return [
                data.decode(),
                level == socket.SOL_SOCKET,
                kind == socket.SCM_RIGHTS,
                fd != d.fileno(),
                e.recv(100).decode(),
            ]
