"""Connecting, listening and accepting."""

# ruff: noqa: PLW0108, RUF059, SIM117 - all cases are written in one form

from __future__ import annotations

import errno
import functools
import socket
import threading
from typing import Any

from tests.real.scenarios.kit import (
    DGRAM,
    INET,
    LOOPBACK,
    STREAM,
    Net,
    exactly,
    outcome,
    scenario,
    tcp,
)


@scenario
def refused(net: Net) -> Any:
    with net.socket(INET, STREAM) as hold:
        hold.bind((LOOPBACK, 0))
        to = hold.getsockname()
    results = []
    for timeout in (None, 5.0):
        with net.socket(INET, STREAM) as s, net.socket(INET, STREAM) as t:
            s.settimeout(timeout)
            t.settimeout(timeout)
            results.append(outcome(functools.partial(s.connect, to)))
            results.append(errno.errorcode[t.connect_ex(to)])
    results.append(outcome(lambda: net.create_connection(to, timeout=5)))
    return results


@scenario
def refused_udp(net: Net) -> Any:
    with net.socket(INET, DGRAM) as hold, net.socket(INET, DGRAM) as s:
        hold.bind((LOOPBACK, 0))
        to = hold.getsockname()
        hold.close()
        s.settimeout(5)
        s.connect(to)
        s.send(b"x")
        return outcome(lambda: s.recv(1))


@scenario
def connect_nonblocking(net: Net) -> Any:
    with net.socket(INET, STREAM) as server, net.socket(INET, STREAM) as s:
        server.bind((LOOPBACK, 0))
        server.listen()
        s.setblocking(False)
        number = s.connect_ex(server.getsockname())
        ready = net.select([], [s], [], 5)[1] == [s]
        error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        again = errno.errorcode.get(s.connect_ex(server.getsockname()), 0)
        return [number in (0, errno.EINPROGRESS), ready, error, again]


@scenario
def connect_twice(net: Net) -> Any:
    with tcp(net) as (client, served):
        return outcome(lambda: client.connect(client.getpeername()))


@scenario
def names(net: Net) -> Any:
    with tcp(net) as (client, served):
        return [
            client.getsockname() == served.getpeername(),
            client.getpeername() == served.getsockname(),
            client.getsockname()[0],
        ]


@scenario
def unconnected(net: Net) -> Any:
    with net.socket(INET, STREAM) as s, net.socket(INET, DGRAM) as d:
        return [
            outcome(lambda: s.getpeername()),
            outcome(lambda: s.recv(1)),
            outcome(lambda: s.send(b"x")),
            outcome(lambda: s.shutdown(socket.SHUT_RDWR)),
            outcome(lambda: d.send(b"x")),
            outcome(lambda: d.getpeername()),
            outcome(lambda: d.listen()),
            outcome(lambda: d.accept()),
            outcome(lambda: s.accept()),
        ]


@scenario
def create_server(net: Net) -> Any:
    with net.create_server((LOOPBACK, 0)) as server:
        with net.create_connection(server.getsockname(), timeout=5) as client:
            served, peer = server.accept()
            with served:
                served.sendall(b"hello")
                return [
                    peer == client.getsockname(),
                    client.gettimeout(),
                    served.gettimeout(),
                    exactly(client, 5).decode(),
                    server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR),
                    server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
                ]


@scenario
def accepted_is_blocking(net: Net) -> Any:
    with net.create_server((LOOPBACK, 0)) as server:
        server.settimeout(5)
        with net.create_connection(server.getsockname()) as client:
            served, _ = server.accept()
            with served:
                timer = threading.Timer(0.3, lambda: client.send(b"late"))
                timer.start()
                got = served.recv(10)
                timer.join()
                return [served.gettimeout(), got.decode()]
