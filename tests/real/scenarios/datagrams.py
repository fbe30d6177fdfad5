"""UDP: sizes, senders, what is cut off, messages."""

from __future__ import annotations

import socket
from typing import Any

from tests.real.scenarios.kit import DGRAM, INET, LOOPBACK, Net, outcome, scenario, udp


@scenario
def datagrams(net: Net) -> Any:
    with udp(net) as (a, b):
        results = []
        for size in (0, 1, 100, 1472, 5000):
            data = bytes(index % 251 for index in range(size))
            results.append(a.sendto(data, b.getsockname()))
            got, sender = b.recvfrom(10000)
            results.append([got == data, sender == a.getsockname()])
        room = bytearray(10)
        a.sendto(b"into", 0, b.getsockname())
        count, sender = b.recvfrom_into(room)
        results.append([count, room[:4].decode(), sender == a.getsockname()])
        return results


@scenario
def datagram_cut(net: Net) -> Any:
    with udp(net) as (a, b):
        a.sendto(b"0123456789", b.getsockname())
        a.sendto(b"next", b.getsockname())
        a.sendto(b"0123456789", b.getsockname())
        first = b.recv(4).decode()
        second = b.recv(100).decode()
        data, _, flags, sender = b.recvmsg(4)
        return [first, second, data.decode(), flags == socket.MSG_TRUNC, sender[0]]


@scenario
def datagram_too_long(net: Net) -> Any:
    with udp(net) as (a, b):
        return outcome(lambda: a.sendto(bytes(65_600), b.getsockname()))


@scenario
def datagram_to_no_port(net: Net) -> Any:
    with net.socket(INET, DGRAM) as s:
        return [
            outcome(lambda: s.connect((LOOPBACK, 9))),
            s.getpeername(),
        ]


@scenario
def connected_datagrams(net: Net) -> Any:
    with udp(net) as (a, b), net.socket(INET, DGRAM) as other:
        b.connect(a.getsockname())
        other.sendto(b"stranger", b.getsockname())
        a.sendto(b"friend", b.getsockname())
        got = b.recv(100).decode()
        b.send(b"back")
        return [got, a.recv(100).decode(), b.getpeername() == a.getsockname()]


@scenario
def messages(net: Net) -> Any:
    with udp(net) as (a, b):
        sent = a.sendmsg([b"one", bytearray(b"two"), b""], [], 0, b.getsockname())
        first, second = bytearray(4), bytearray(10)
        count, anc, flags, sender = b.recvmsg_into([first, second])
        return [
            sent,
            count,
            first.decode(),
            second[:2].decode(),
            anc,
            flags,
            sender == a.getsockname(),
            outcome(lambda: a.sendmsg(["x"])),
            outcome(lambda: b.recvmsg(-1)),
        ]
