"""Timeouts, blocking, select and poll."""

# ruff: noqa: PLW0108, RUF059 - all cases are written in one form

from __future__ import annotations

import functools
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.real.scenarios.kit import (
    DGRAM,
    INET,
    LOOPBACK,
    Net,
    exactly,
    outcome,
    scenario,
    tcp,
    udp,
)


@scenario
def timeouts(net: Net) -> Any:
    results = []
    with net.create_server((LOOPBACK, 0)) as server, udp(net) as (a, b):
        for span in (0.05, 0.3):
            server.settimeout(span)
            b.settimeout(span)
            calls: list[Callable[[], Any]] = [
                server.accept,
                lambda: b.recv(1),
                lambda: b.recvfrom(1),
                lambda: b.recv_into(bytearray(1)),
                lambda: b.recvmsg(1),
            ]
            for call in calls:
                before = time.monotonic()
                results.append(outcome(call))
                took = time.monotonic() - before
                results.append(span - 0.02 <= took < span + 0.5)
    return results


@scenario
def timeout_values(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        results = [s.gettimeout(), s.getblocking(), s.timeout]
        for value in (None, 0, 1, 2.5, -1, "x", float("nan"), 1e30):
            results.append(outcome(functools.partial(s.settimeout, value)))
            results.append(s.gettimeout())
        s.setblocking(False)
        results += [s.gettimeout(), s.getblocking()]
        s.setblocking(True)
        results += [s.gettimeout(), s.getblocking()]
        return results


@scenario
def non_blocking(net: Net) -> Any:
    with udp(net) as (a, b), net.create_server((LOOPBACK, 0)) as server:
        b.setblocking(False)
        a.settimeout(0.1)
        c, d = net.socketpair()
        with c, d:
            pair = outcome(lambda: c.recv(1, socket.MSG_DONTWAIT))
        server.setblocking(False)
        return [
            outcome(lambda: b.recv(1)),
            outcome(lambda: b.recvfrom(1)),
            outcome(lambda: b.recvmsg(1)),
            outcome(lambda: server.accept()),
            outcome(lambda: a.recv(1, socket.MSG_DONTWAIT)),
            pair,
        ]


@scenario
def back_to_blocking(net: Net) -> Any:
    with udp(net) as (a, b):
        b.setblocking(False)
        first = outcome(lambda: b.recv(1))
        b.setblocking(True)
        timer = threading.Timer(0.3, lambda: a.sendto(b"late", b.getsockname()))
        timer.start()
        got = b.recv(10)
        timer.join()
        return [first, got.decode()]


@scenario
def full_buffer(net: Net) -> Any:
    results = []
    with tcp(net) as (client, served):
        client.setblocking(False)
        block = bytes(65536)
        sent = refusals = 0
        while refusals < 3:  # what is on its way makes room once more
            try:
                sent += client.send(block)
                refusals = 0
            except BlockingIOError:
                refusals += 1
                time.sleep(0.05)
        results.append(outcome(lambda: client.send(block)))
        results.append(outcome(lambda: client.sendmsg([block])))
        client.settimeout(0.1)
        results.append(outcome(lambda: client.sendall(block)))
        results.append(net.select([], [client], [], 0)[1])
        served.settimeout(5)
        results.append(len(exactly(served, sent)) == sent)
        return results


@scenario
def timeout_in_sendall(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.settimeout(0.3)
        before = time.monotonic()
        result = outcome(lambda: client.sendall(bytes(50_000_000)))
        return [result, time.monotonic() - before < 3]


@scenario
def user_receive_timeout(net: Net) -> Any:
    with udp(net) as (a, b):
        b.settimeout(None)
        span = struct.pack("ll", 0, 150_000)
        b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, span)
        raw = b.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        before = time.monotonic()
        result = outcome(lambda: b.recv(1))
        took = time.monotonic() - before
        return [struct.unpack("ll", raw)[0], result, 0.1 < took < 1.0]


@scenario
def select_sockets(net: Net) -> Any:
    with tcp(net) as (client, served):
        idle = net.select([served], [], [], 0.05)
        writable = net.select([], [client], [], 1)[1] == [client]
        client.send(b"x")
        readable = net.select([served, client], [], [], 5)[0] == [served]
        client.close()
        served.recv(1)
        ended = net.select([served], [], [], 5)[0] == [served]
        return [
            [len(part) for part in idle],
            writable,
            readable,
            ended,
            outcome(lambda: net.select([client], [], [], 0)),
            outcome(lambda: net.select([served], [], [], -1)),
        ]


@scenario
def poll_sockets(net: Net) -> Any:
    import select

    with tcp(net) as (client, served):
        poll = net.poll()
        poll.register(served, select.POLLIN)
        idle = poll.poll(20)
        client.send(b"x")
        one = poll.poll(5000) == [(served.fileno(), select.POLLIN)]
        poll.modify(served, select.POLLOUT)
        two = poll.poll(5000) == [(served.fileno(), select.POLLOUT)]
        poll.unregister(served)
        return [
            idle,
            one,
            two,
            outcome(lambda: poll.modify(served, 1)),
            poll.poll(10),
        ]
